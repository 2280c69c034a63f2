//! `--watch`: changed files are loaded while requests run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::cli::Serve;
use crate::handler::App;
use crate::output::{Output, Style};
use crate::site::Site;
use crate::units::show_time;

/// An editor writes in several steps; it is waited until nothing has changed for this long.
const QUIET: Duration = Duration::from_millis(60);

/// Endings of files that a program is made of.
const ENDINGS: [&str; 9] = ["lua", "php", "phtml", "inc", "ini", "env", "twig", "yaml", "yml"];

/// Looks at the site's folders until the server ends.
pub async fn watch(options: Arc<Serve>, app: Arc<App>) {
    let Style { red, reset, .. } = app.output.style();
    if let Err(error) = run(&options, &app).await {
        app.output.lines(&format!("{red}error{reset}: --watch: {error:#}\n"));
    }
}

async fn run(options: &Serve, app: &App) -> anyhow::Result<()> {
    let (changed, mut changes) = mpsc::unbounded_channel();
    let mut watcher = watcher(changed)?;
    for folder in folders(options, &app.live.site()) {
        watcher
            .watch(&folder, RecursiveMode::Recursive)
            .with_context(|| format!("cannot look at {}", folder.display()))?;
    }
    while let Some(path) = changes.recv().await {
        while let Ok(Some(_)) = tokio::time::timeout(QUIET, changes.recv()).await {}
        reload(options, app, &path).await;
    }
    Ok(())
}

fn watcher(changed: mpsc::UnboundedSender<PathBuf>) -> anyhow::Result<RecommendedWatcher> {
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let counts = match event.kind {
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Any => true,
            EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
            EventKind::Access(_) | EventKind::Other => false,
        };
        if counts && let Some(path) = event.paths.into_iter().find(|path| is_source(path)) {
            let _ = changed.send(path);
        }
    });
    watcher.context("cannot look at files")
}

fn is_source(path: &Path) -> bool {
    let ending = path.extension().or(path.file_name().filter(|name| name.to_string_lossy().starts_with(".env")));
    let ending = ending.map(|ending| ending.to_string_lossy().trim_start_matches('.').to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
        && !path.components().any(|part| part.as_os_str() == ".git" || part.as_os_str() == "node_modules")
}

fn folders(options: &Serve, site: &Site) -> Vec<PathBuf> {
    let own: Vec<PathBuf> = match site {
        Site::Script { .. } => {
            let app = std::path::absolute(&options.app).ok();
            app.and_then(|app| app.parent().map(Path::to_path_buf)).into_iter().collect()
        }
        #[cfg(feature = "php")]
        Site::Pages(pages) => pages.folders(),
    };
    let mut all: Vec<PathBuf> = own.into_iter().chain(options.watch_path.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

async fn reload(options: &Serve, app: &App, changed: &Path) {
    let begun = Instant::now();
    let site = app.live.site();
    let outcome = match &*site {
        Site::Script { .. } => Site::load(options, &app.output).await.map(|site| app.live.replace(site, options.drain)),
        #[cfg(feature = "php")]
        Site::Pages(pages) => pages.reload().await.map_err(Into::into),
    };
    drop(site);
    told(&app.output, changed, begun.elapsed(), outcome);
}

fn told(output: &Output, changed: &Path, took: Duration, outcome: anyhow::Result<()>) {
    let Style { red, green, dim, reset, .. } = output.style();
    let name = changed.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    output.lines(&match outcome {
        Ok(()) => format!("  {green}reload{reset} {name} {dim}{}{reset}\n", show_time(took)),
        Err(error) => format!("  {red}not reloaded{reset} {name}: {error:#}; the program goes on as it was\n"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_from_what_programs_write() {
        for path in ["/a/app.lua", "/a/src/X.php", "/a/.env", "/a/.env.local", "/a/t.twig"] {
            assert_eq!(is_source(Path::new(path)), !path.ends_with(".local"), "{path}");
        }
        for path in ["/a/log/app.log", "/a/.git/config.php", "/a/data.db", "/a/.env.swp"] {
            assert!(!is_source(Path::new(path)), "{path}");
        }
    }
}
