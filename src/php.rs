//! Web pages of PHP (feature `php`): a request goes in, a PHP file runs as the main program in a request context of its own,
//! and a response comes out while it runs.
//!
//! ```no_run
//! # async fn example(engine: sidestack::Engine) -> Result<(), sidestack::Error> {
//! use sidestack::php::{Body, Page};
//!
//! let request = http::Request::get("/hello.php?name=you").header("host", "example.org").body(Body::empty()).unwrap();
//! let response = engine.page(Page::new("public/hello.php", request).document_root("public")).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! The types are those of the `http` and `http-body` crates, so that pages fit under hyper and axum as they are.
//!
//! | what | how |
//! | --- | --- |
//! | `$_SERVER` | as nginx and php-fpm fill it: [`Page`] has the list |
//! | the request's body | read when the script wants it: forms and uploads before it starts, else through `php://input` |
//! | output | the response begins at the first output that leaves PHP's buffers; a client that reads slowly makes the script's fiber wait |
//! | the client goes away | the next output ends the script, unless it asked for `ignore_user_abort` |
//! | `fastcgi_finish_request()` | the response ends, the script goes on |
//!
//! A worker script ([`Workers`]) boots once and answers pages in a loop, each worker on a fiber of its own.

mod body;
mod call;
mod exchange;
mod host;
mod page;
mod workers;

pub use body::{Body, BoxError};
pub use call::PageCall;
pub(crate) use host::module;
pub use page::Page;

/// What comes of a page.
pub type Response = http::Response<Body>;

pub use workers::{Workers, WorkersBuilder};
