//! One request and its response, between the host that waits and the script that runs.
//!
//! The script's side (`host.rs`) takes what the request says and writes; the host's side has the response's future and its
//! body. What the script has written reaches the host's side when it has to: at a flush, when the script's buffer is full, or
//! at the end. A page that ends before then is a response of known length.

use std::future::poll_fn;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_channel::oneshot;
use http::header::{HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Response, StatusCode};

use super::body::{Body, Output};
use super::page::Page;
use super::workers::Post;
use crate::call::job::Settings;
use crate::call::stats::Stats;
use crate::{Error, Limit};

/// Chunks that wait for a client: one to write and one behind it. The shim's buffer bounds their size.
const CHUNKS: usize = 2;

/// What the host's side waits for.
pub type Answer = Result<Response<Body>, Error>;

/// See the module.
pub struct Exchange {
    page: Page,
    input: Mutex<Input>,
    stage: Mutex<Stage>,
    failure: Mutex<Option<Error>>,
    /// Bytes of the response's body so far.
    written: AtomicUsize,
    /// Since when it waits, until a worker has it.
    asked: Instant,
    taken: AtomicBool,
    /// What a worker is called while it has it.
    pub label: Option<String>,
    /// Where a worker tells what it did for it.
    pub stats: Option<Stats>,
}

/// The request's body, and what has been taken from it and not yet been read.
struct Input {
    body: Body,
    left: Bytes,
}

/// How far the response is.
enum Stage {
    /// Nothing of it has left; its status and headers may be known, and all of its body.
    Held { to: oneshot::Sender<Answer>, head: Option<Box<http::response::Parts>>, body: Bytes },
    /// The host has its head and reads.
    Streaming(async_channel::Sender<Bytes>),
    /// It has ended, or nobody wants it.
    Over,
}

impl Exchange {
    /// Of a request; the response, or why there is none, comes out of the receiver.
    pub fn new(mut page: Page, settings: &Settings) -> (Arc<Self>, oneshot::Receiver<Answer>) {
        let (to, answer) = oneshot::channel();
        let body = mem::take(page.body.get_mut().unwrap_or_else(PoisonError::into_inner));
        let exchange = Exchange {
            page,
            input: Mutex::new(Input { body, left: Bytes::new() }),
            stage: Mutex::new(Stage::Held { to, head: None, body: Bytes::new() }),
            failure: Mutex::default(),
            written: AtomicUsize::new(0),
            asked: Instant::now(),
            taken: AtomicBool::new(false),
            label: settings.label.clone(),
            stats: settings.stats.clone(),
        };
        (Arc::new(exchange), answer)
    }

    /// The request.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// Up to so many bytes of the request's body; none at its end, and where it breaks off.
    pub async fn read(&self, most: usize) -> Bytes {
        poll_fn(|task| {
            let mut input = lock(&self.input);
            if input.left.is_empty() {
                input.left = match std::task::ready!(input.body.poll_chunk(task)) {
                    Some(Ok(chunk)) => chunk,
                    Some(Err(_)) | None => Bytes::new(),
                };
            }
            let most = most.min(input.left.len());
            std::task::Poll::Ready(input.left.split_to(most))
        })
        .await
    }

    /// Status and headers, as PHP's header lines. Only the first ones count.
    pub fn head(&self, status: u16, lines: &[crate::Bytes]) {
        if let Stage::Held { head: head @ None, .. } = &mut *lock(&self.stage) {
            *head = Some(Box::new(parts(status, lines)));
        }
    }

    /// Whether so many more bytes fit into the response. If not it is over.
    fn fits(&self, bytes: &Bytes) -> bool {
        let written = self.written.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        let Some(most) = self.page.max_response.filter(|most| written > *most) else { return true };
        self.end(Err(Error::limit(Limit::Response, most as u64, "max_response")));
        false
    }

    /// Passes bytes on, and waits for a client that is behind. False: it is gone, or the response has ended.
    pub async fn write(self: &Arc<Self>, bytes: Bytes) -> bool {
        if !self.fits(&bytes) {
            return false;
        }
        let Some(chunks) = self.streaming() else { return false };
        bytes.is_empty() || chunks.send(bytes).await.is_ok()
    }

    /// Ends the response with these bytes, now, while the script goes on.
    pub async fn finish(self: &Arc<Self>, bytes: Bytes) {
        if !self.fits(&bytes) {
            return;
        }
        let stage = mem::replace(&mut *lock(&self.stage), Stage::Over);
        match stage {
            Stage::Held { to, head, .. } => {
                let _ = to.send(Ok(response(head, Body::whole(bytes))));
            }
            Stage::Streaming(chunks) if !bytes.is_empty() => {
                let _ = chunks.send(bytes).await;
            }
            Stage::Streaming(_) | Stage::Over => {}
        }
    }

    /// The last bytes of a script that is over: its call's outcome follows, and ends the response ([`Exchange::end`]).
    pub async fn last(self: &Arc<Self>, bytes: Bytes) {
        if !self.fits(&bytes) {
            return;
        }
        let chunks = match &mut *lock(&self.stage) {
            Stage::Held { body, .. } => {
                *body = bytes;
                return;
            }
            Stage::Streaming(chunks) => chunks.clone(),
            Stage::Over => return,
        };
        if !bytes.is_empty() {
            let _ = chunks.send(bytes).await;
        }
    }

    /// The page's call is over. What it did not end itself ends here: in order, or broken off.
    pub fn end(&self, outcome: Result<(), Error>) {
        let stage = mem::replace(&mut *lock(&self.stage), Stage::Over);
        match (stage, outcome) {
            (Stage::Held { to, head, body }, Ok(())) => {
                let _ = to.send(Ok(response(head, Body::whole(body))));
            }
            (Stage::Held { to, .. }, Err(error)) => {
                let _ = to.send(Err(error));
            }
            (Stage::Streaming(chunks), Err(error)) => {
                *lock(&self.failure) = Some(error);
                drop(chunks);
            }
            (Stage::Streaming(_), Ok(())) | (Stage::Over, _) => {}
        }
    }

    /// A worker takes it. False: somebody has.
    pub fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::Relaxed)
    }

    /// Whether somebody has.
    pub fn taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// Since when it waits.
    pub fn asked(&self) -> Instant {
        self.asked
    }

    /// Whether nobody waits for the response any more, and nothing of it has been made.
    pub fn unwanted(&self) -> bool {
        matches!(&*lock(&self.stage), Stage::Held { to, .. } if to.is_canceled())
    }

    /// What broke the response off.
    pub fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }

    /// The way to the host's side; its head leaves now, if it has not. `None`: there is nobody.
    fn streaming(self: &Arc<Self>) -> Option<async_channel::Sender<Bytes>> {
        let mut stage = lock(&self.stage);
        match mem::replace(&mut *stage, Stage::Over) {
            Stage::Held { to, head, .. } => {
                let (chunks, receiver) = async_channel::bounded(CHUNKS);
                *stage = Stage::Streaming(chunks.clone());
                // Waking the host's side is none of this lock's business.
                drop(stage);
                let body = Body::page(Output { chunks: Box::pin(receiver), exchange: self.clone() });
                if to.send(Ok(response(head, body))).is_err() {
                    *lock(&self.stage) = Stage::Over;
                    return None;
                }
                Some(chunks)
            }
            Stage::Streaming(chunks) => {
                *stage = Stage::Streaming(chunks.clone());
                Some(chunks)
            }
            Stage::Over => None,
        }
    }
}

/// Where a fiber serves pages: one page's place, or a worker's, which has one page after the other.
pub struct Seat {
    page: Mutex<Option<Arc<Exchange>>>,
    /// Where a worker's next page comes from.
    pub post: Option<Post>,
}

impl Seat {
    /// For one page.
    pub fn of(page: Arc<Exchange>) -> Self {
        Seat { page: Mutex::new(Some(page)), post: None }
    }

    /// For a worker.
    pub fn worker(post: Post) -> Self {
        Seat { page: Mutex::default(), post: Some(post) }
    }

    /// The page that is being served.
    pub fn page(&self) -> Option<Arc<Exchange>> {
        lock(&self.page).clone()
    }

    /// The next page, or none; returns the one before.
    pub fn put(&self, page: Option<Arc<Exchange>>) -> Option<Arc<Exchange>> {
        mem::replace(&mut *lock(&self.page), page)
    }
}

/// Nothing under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn response(head: Option<Box<http::response::Parts>>, body: Body) -> Response<Body> {
    match head {
        Some(parts) => Response::from_parts(*parts, body),
        None => Response::new(body),
    }
}

/// PHP's header lines as a response's head. Lines that no HTTP header can be are left out, and how a message is framed is the
/// host's business.
fn parts(status: u16, lines: &[crate::Bytes]) -> http::response::Parts {
    let mut headers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers.remove(TRANSFER_ENCODING);
    let (mut parts, ()) = Response::new(()).into_parts();
    // What is no final status cannot be sent as one.
    parts.status = StatusCode::from_u16(status).ok().filter(|s| !s.is_informational()).unwrap_or_default();
    parts.headers = headers;
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;

    fn exchange(body: Body) -> (Arc<Exchange>, oneshot::Receiver<Answer>) {
        Exchange::new(Page::new("a.php", http::Request::post("/").body(body).expect("a request")), &Settings::default())
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_page_that_ends_before_a_flush_has_a_length() {
        let (exchange, answer) = exchange(Body::empty());
        exchange.head(404, &["Content-type: text/plain".into(), "X-A: 1".into(), "X-A: 2".into(), "broken".into()]);
        exchange.head(200, &[]);
        block_on(exchange.finish(bytes("gone")));
        let response = block_on(answer).expect("an answer").expect("a response");
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(4));
        assert_eq!(block_on(response.into_body().collect()).expect("whole"), b"gone");
        assert!(!block_on(exchange.write(bytes("late"))));
    }

    #[test]
    fn a_writer_waits_for_a_slow_reader_and_learns_that_it_is_gone() {
        let (exchange, answer) = exchange(Body::empty());
        assert!(block_on(exchange.write(bytes("1"))) && block_on(exchange.write(bytes("2"))));
        let mut body = block_on(answer).expect("an answer").expect("a response").into_body();
        let writer = exchange.clone();
        let third =
            std::thread::spawn(move || (block_on(writer.write(bytes("3"))), block_on(writer.write(bytes("4")))));
        let chunk = |body: &mut Body| block_on(body.chunk()).expect("more").expect("whole");
        assert_eq!((chunk(&mut body), chunk(&mut body), chunk(&mut body)), (bytes("1"), bytes("2"), bytes("3")));
        drop(body);
        let (third, _) = third.join().expect("a thread");
        assert!(third);
        assert!(!block_on(exchange.write(bytes("5"))));
    }

    #[test]
    fn a_failure_is_the_answer_or_breaks_the_body_off() {
        let (first, answer) = exchange(Body::empty());
        first.end(Err(Error::Cancelled));
        assert!(matches!(block_on(answer), Ok(Err(Error::Cancelled))));

        let (second, answer) = exchange(Body::empty());
        assert!(block_on(second.write(bytes("some"))));
        second.end(Err(Error::Cancelled));
        let body = block_on(answer).expect("an answer").expect("a response").into_body();
        assert!(block_on(body.collect()).expect_err("broken off").downcast_ref::<Error>().is_some());
    }

    #[test]
    fn what_a_script_wrote_last_counts_only_if_its_call_ends_well() {
        let (first, answer) = exchange(Body::empty());
        first.head(500, &[]);
        block_on(first.last(bytes("cancelled, uncaught")));
        first.end(Err(Error::Cancelled));
        assert!(matches!(block_on(answer), Ok(Err(Error::Cancelled))));

        let (second, answer) = exchange(Body::empty());
        block_on(second.last(bytes("fine")));
        second.end(Ok(()));
        let body = block_on(answer).expect("an answer").expect("a response").into_body();
        assert_eq!(block_on(body.collect()).expect("whole"), b"fine");
    }

    #[test]
    fn the_body_is_read_in_pieces() {
        let (exchange, _answer) = exchange(Body::from("hello"));
        let read = |most| block_on(exchange.read(most));
        assert_eq!((read(2), read(16), read(16)), (bytes("he"), bytes("llo"), Bytes::new()));
    }

    #[test]
    fn nobody_waits_for_it() {
        let (exchange, answer) = exchange(Body::empty());
        assert!(!exchange.unwanted());
        drop(answer);
        assert!(exchange.unwanted());
        assert!(!block_on(exchange.write(bytes("x"))));
    }
}
