//! What answers requests, and how it is replaced while they run.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::bail;
use bytesize::ByteSize;
use sidestack::{Engine, Script};

use crate::cli::Serve;
use crate::guest;
use crate::output::Output;
#[cfg(feature = "php")]
use crate::php::Pages;
use crate::report;
use crate::sources::Sources;

/// A script with an engine of its own, or the pages of a site.
pub enum Site {
    /// The script's `default` export answers.
    Script {
        /// Its interpreters.
        engine: Engine,
        /// Itself.
        script: Script,
        /// Its lines, for error reports.
        sources: Sources,
    },
    /// PHP files do.
    #[cfg(feature = "php")]
    Pages(Pages),
}

impl Site {
    /// Of the file or folder that is to be served; what is wrong with it has been told.
    pub async fn load(options: &Serve, output: &Output) -> anyhow::Result<Site> {
        #[cfg(feature = "php")]
        if guest::is_php(&options.app) {
            return Ok(Site::Pages(Pages::load(options).await?));
        }
        let path = guest::script_path(&options.app)?;
        let engine = guest::engine(&guest::Capacity::of(options), options.deadline.0, &options.limits)?;
        let sources = Sources::of(&path);
        let script = match engine.load(Path::new(&path)).await {
            Ok(script) => script,
            Err(error) => {
                output.lines(&report::report(&error, "while it was loaded", None, &sources, output.style()));
                bail!("{} cannot be served", options.app.display());
            }
        };
        if !answers(&script) {
            bail!(
                "{} returns no function: a script to serve ends in `return function(request) … end`",
                options.app.display()
            );
        }
        Ok(Site::Script { engine, script, sources })
    }

    /// Its interpreters.
    pub fn engine(&self) -> &Engine {
        match self {
            Site::Script { engine, .. } => engine,
            #[cfg(feature = "php")]
            Site::Pages(pages) => pages.engine(),
        }
    }

    /// What its interpreters may hold each, where nobody says.
    pub fn memory(&self) -> ByteSize {
        match self {
            Site::Script { .. } => guest::LUA_MEMORY,
            #[cfg(feature = "php")]
            Site::Pages(_) => crate::php::MEMORY,
        }
    }

    /// How many worker scripts it has, if any.
    pub fn workers(&self) -> Option<usize> {
        match self {
            Site::Script { .. } => None,
            #[cfg(feature = "php")]
            Site::Pages(pages) => pages.workers(),
        }
    }

    /// What waits for a fiber, or for a worker.
    pub fn queued(&self) -> usize {
        let calls = self.engine().metrics().queued;
        match self {
            Site::Script { .. } => calls,
            #[cfg(feature = "php")]
            Site::Pages(pages) => calls + pages.queued(),
        }
    }

    /// Lines of its files.
    pub fn sources(&self) -> &Sources {
        match self {
            Site::Script { sources, .. } => sources,
            #[cfg(feature = "php")]
            Site::Pages(pages) => pages.sources(),
        }
    }

    /// What ends before its interpreters do.
    pub async fn stop(&self) {
        #[cfg(feature = "php")]
        if let Site::Pages(pages) = self {
            pages.stop().await;
        }
    }
}

/// Whether the script exports a function to answer with.
fn answers(script: &Script) -> bool {
    script.exports().is_none_or(|names| names.iter().any(|name| name == "default"))
}

/// The site as it is now. A request keeps the one that it began with.
pub struct Live(RwLock<Arc<Site>>);

impl Live {
    /// The first one.
    pub fn new(site: Site) -> Self {
        Live(RwLock::new(Arc::new(site)))
    }

    /// The current one.
    pub fn site(&self) -> Arc<Site> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its engine.
    pub fn engine(&self) -> Engine {
        self.site().engine().clone()
    }

    /// Puts another one in its place. The old one's interpreters end when no request uses it any more, or after `patience`.
    pub fn replace(&self, site: Site, patience: Duration) {
        let old = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), Arc::new(site));
        tokio::spawn(async move {
            let unused = async {
                while Arc::strong_count(&old) > 1 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let _ = tokio::time::timeout(patience, unused).await;
            old.stop().await;
            old.engine().shutdown(Duration::ZERO).await;
        });
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Live({:?})", self.site().engine())
    }
}
