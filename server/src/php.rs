//! Sites of PHP: files, pages and worker scripts.

mod files;
mod route;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytesize::ByteSize;
use http_body_util::Limited;
use hyper::Request;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use sidestack::php::{Body, Page, Workers};
use sidestack::{Engine, Error, Php};

use crate::cli::{Ini, Serve};
use crate::guest;
use crate::handler::{App, Asked, Did, Line, Reply, boxed, failed};
use crate::linger::Lingering;
use crate::response::plain;
use crate::site::Site;
use crate::sources::Sources;
use route::{Route, route};

/// What the interpreters of a site may hold where nobody says: a request has about half a MiB of its own.
pub const MEMORY: ByteSize = ByteSize::mib(512);

/// A site.
pub struct Pages {
    engine: Engine,
    /// The document root.
    root: PathBuf,
    /// The one file that answers everything, where one is served instead of a folder.
    only: Option<PathBuf>,
    worker: Option<Worker>,
    sources: Sources,
}

/// A worker script, in the front controller's place.
struct Worker {
    file: PathBuf,
    workers: Workers,
}

impl Pages {
    /// The site in a folder, or of a file.
    pub async fn load(options: &Serve) -> anyhow::Result<Pages> {
        let app =
            std::fs::canonicalize(&options.app).with_context(|| format!("cannot read {}", options.app.display()))?;
        let (root, only) = match app.parent() {
            _ if app.is_dir() => (app, None),
            Some(folder) => (folder.to_path_buf(), Some(app)),
            None => bail!("{} is in no folder", options.app.display()),
        };
        let mut php = settings(&options.limits.ini)?;
        if options.watch || !options.watch_path.is_empty() {
            // A change counts at once.
            php = php.ini("opcache.revalidate_freq", "0").ini("user_ini.cache_ttl", "0");
        }
        let capacity = guest::Capacity::of(options);
        let per_worker = options.workers.worker.is_some() || options.workers.workers.is_some();
        let max_requests = capacity.max_calls;
        // Workers are booted again themselves after so many.
        let capacity = guest::Capacity { max_calls: max_requests.filter(|_| !per_worker), ..capacity };
        let deadline = options.deadline.0;
        let engine = guest::build(Engine::builder(php), MEMORY, &capacity, deadline, &options.limits)?;
        let worker = match per_worker {
            true => Some(Worker::start(&engine, options, &root, only.as_deref(), max_requests).await?),
            false => None,
        };
        if only.is_none()
            && worker.is_none()
            && ["index.php", "index.html"].iter().all(|name| !root.join(name).is_file())
        {
            let root = root.display();
            tracing::warn!(target: "sidestack", "{root} has no index.php: only what names a file there is answered");
        }
        let sources = Sources::of(only.as_deref().unwrap_or(&root.join("index.php")));
        Ok(Pages { engine, root, only, worker, sources })
    }

    /// Its interpreters.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Lines of its files.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Ends the workers, each after the request that it has.
    pub async fn stop(&self) {
        if let Some(worker) = &self.worker {
            worker.workers.stop().await;
        }
    }

    /// Has changed files count: workers are booted anew; pages are anyway.
    pub async fn reload(&self) -> Result<(), Error> {
        match &self.worker {
            Some(worker) => worker.workers.reload().await,
            None => Ok(()),
        }
    }

    /// Folders whose changes count.
    pub fn folders(&self) -> Vec<PathBuf> {
        let worker = self.worker.as_ref().and_then(|worker| worker.file.parent()).map(Path::to_path_buf);
        [self.root.clone()].into_iter().chain(worker).collect()
    }

    /// How many workers there are, for the banner.
    pub fn workers(&self) -> Option<usize> {
        self.worker.as_ref().map(|worker| worker.workers.count())
    }

    /// Requests that wait for a worker.
    pub fn queued(&self) -> usize {
        self.worker.as_ref().map_or(0, |worker| worker.workers.queued())
    }

    fn route(&self, path: &str) -> Route {
        match &self.only {
            Some(file) => Route::Script { file: file.clone(), path_info: String::new(), fallback: true },
            None => match route(&self.root, path) {
                // Without an index.php the worker answers what is no file.
                Route::Nothing if self.worker.is_some() => Route::Worker,
                other => other,
            },
        }
    }
}

impl Worker {
    async fn start(
        engine: &Engine,
        options: &Serve,
        root: &Path,
        only: Option<&Path>,
        max_requests: Option<u64>,
    ) -> anyhow::Result<Worker> {
        let file = match (&options.workers.worker, only) {
            (Some(file), _) => file.clone(),
            (None, Some(file)) => file.to_path_buf(),
            (None, None) => root.join("index.php"),
        };
        let file = std::fs::canonicalize(&file)
            .with_context(|| format!("cannot read the worker script {} (--worker names another)", file.display()))?;
        let count = options.workers.workers.map_or(engine.metrics().interpreters * 4, usize::from);
        let mut workers = engine.workers(&file).count(count).queue(options.queue);
        if let Some(requests) = max_requests {
            workers = workers.max_requests(requests);
        }
        if let Some(after) = options.deadline.0 {
            workers = workers.deadline(after);
        }
        if let Some(after) = options.queue_timeout.0 {
            workers = workers.queue_timeout(after);
        }
        let workers =
            workers.start().await.with_context(|| format!("{} does not start as a worker", file.display()))?;
        Ok(Worker { file, workers })
    }
}

/// PHP with what the command line says of it.
pub fn settings(ini: &Ini) -> anyhow::Result<Php> {
    let mut php = Php::new();
    if let Some(file) = &ini.php_ini {
        std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        php = php.ini_file(file);
    }
    for setting in &ini.define {
        let (name, value) = setting.split_once('=').unwrap_or((setting, "1"));
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() {
            bail!("`-d {setting}` names no setting: write -d memory_limit=64M");
        }
        // As PHP's own `-d`: what php.ini would read as more than a word is in quotes there.
        let word = |first: char| first.is_ascii_alphanumeric() || first == '"' || first == '\'';
        php = match value.is_empty() || value.starts_with(word) {
            true => php.ini(name, value),
            false => php.ini(name, format!("\"{value}\"")),
        };
    }
    Ok(php)
}

/// Answers a request with a file, a page or a worker.
pub async fn answer(app: &App, site: &Site, pages: &Pages, asked: Asked, line: &mut Line) -> Reply {
    let path = asked.parts.uri.path();
    match pages.route(path) {
        Route::Nothing => plain(404, "not found\n".into()).map(boxed),
        Route::Folder => {
            let query = asked.parts.uri.query().map_or_else(String::new, |query| format!("?{query}"));
            moved(&format!("/{}/{query}", path.trim_start_matches('/')))
        }
        Route::File(file) => files::answer(&file, asked.parts).await,
        Route::Script { file, path_info, fallback } => {
            let worker = pages.worker.as_ref().filter(|worker| fallback || worker.file == file);
            run(app, site, pages, worker, file, path_info, asked, line).await
        }
        Route::Worker => {
            let worker = pages.worker.as_ref();
            let file = worker.map_or_else(PathBuf::new, |worker| worker.file.clone());
            run(app, site, pages, worker, file, String::new(), asked, line).await
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one caller, and all of it is needed")]
async fn run(
    app: &App,
    site: &Site,
    pages: &Pages,
    worker: Option<&Worker>,
    file: PathBuf,
    path_info: String,
    asked: Asked,
    line: &mut Line,
) -> Reply {
    let Asked { parts, body, remote, local } = asked;
    let body = Lingering::new(body, app.patience);
    if too_large(&parts, app.max_body) {
        let mut reply = plain(413, app.body_too_large() + "\n").map(boxed);
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return reply;
    }
    let request = Request::from_parts(parts, Body::new(Limited::new(body, app.max_body)));
    let file = worker.map_or(file, |worker| worker.file.clone());
    let page = Page::new(file, request).document_root(&pages.root).path_info(path_info).remote(remote).local(local);
    let page = page.max_response(app.max_response);
    let call = match worker {
        Some(worker) => worker.workers.page(page),
        None => pages.engine.page(page),
    };
    let mut call = call.label(line.label());
    let stats = call.stats();
    // Its own reads and writes are calls too, which say nothing.
    line.stats = Some(Did { stats: stats.clone(), calls: false });
    match call.await {
        Ok(response) => response.map(boxed),
        Err(error) => failed(app, site, &error, Some(&stats), line),
    }
}

fn too_large(parts: &Parts, most: usize) -> bool {
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > most as u64)
}

fn moved(to: &str) -> Reply {
    let mut reply = plain(301, String::new()).map(boxed);
    if let Ok(to) = HeaderValue::from_str(to) {
        reply.headers_mut().insert(LOCATION, to);
    }
    reply
}
