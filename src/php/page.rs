//! A request, as a PHP file gets it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use http::Version;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST};
use http::request::Parts;

use super::body::Body;

/// A request and the PHP file that answers it.
///
/// It becomes these variables of `$_SERVER`, beside `REQUEST_TIME` and `REQUEST_TIME_FLOAT`:
///
/// | variable | |
/// | --- | --- |
/// | `REQUEST_METHOD`, `REQUEST_URI`, `QUERY_STRING`, `SERVER_PROTOCOL` | from the request line |
/// | `SCRIPT_FILENAME`, `SCRIPT_NAME`, `DOCUMENT_ROOT` | what the page was made with; `SCRIPT_NAME` is the file's path below the root |
/// | `PATH_INFO`, `PATH_TRANSLATED` | where there is a [path info](Page::path_info) |
/// | `PHP_SELF`, `DOCUMENT_URI` | `SCRIPT_NAME` and `PATH_INFO` |
/// | `CONTENT_TYPE`, `CONTENT_LENGTH` | as sent, `""` if not |
/// | `HTTP_*` | the headers; those with `_` in their names are left out, as they could pose as others |
/// | `PHP_AUTH_USER`, `PHP_AUTH_PW`, `PHP_AUTH_DIGEST` | from `Authorization` |
/// | `REMOTE_ADDR`, `REMOTE_PORT`, `SERVER_ADDR`, `SERVER_PORT`, `SERVER_NAME` | the connection; the name is the request's `Host` without its port |
/// | `REQUEST_SCHEME`, `HTTPS` | `http`, or `https` and `on` |
/// | `GATEWAY_INTERFACE`, `SERVER_SOFTWARE`, `REDIRECT_STATUS` | `CGI/1.1`, `Sidestack/…`, `200` |
#[derive(Debug)]
pub struct Page {
    pub(super) script: PathBuf,
    root: Option<PathBuf>,
    path_info: String,
    pub(super) parts: Parts,
    /// Behind a lock only because a host's stream need not be `Sync`.
    pub(super) body: Mutex<Body>,
    remote: SocketAddr,
    local: SocketAddr,
    https: bool,
    variables: Vec<(String, Vec<u8>)>,
    pub(super) max_response: Option<usize>,
}

impl Page {
    /// A request for this file.
    pub fn new(script: impl Into<PathBuf>, request: http::Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        Page {
            script: script.into(),
            root: None,
            path_info: String::new(),
            parts,
            body: Mutex::new(body),
            remote: ([127, 0, 0, 1], 0).into(),
            local: ([127, 0, 0, 1], 80).into(),
            https: false,
            variables: Vec::new(),
            max_response: None,
        }
    }

    /// The folder that the site is in. Default: the script's own.
    pub fn document_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// What follows the script's name in the request's path, decoded: `/7` of `/index.php/7`. Default: nothing.
    pub fn path_info(mut self, path: impl Into<String>) -> Self {
        self.path_info = path.into();
        self
    }

    /// The client's address. Default: `127.0.0.1:0`.
    pub fn remote(mut self, address: SocketAddr) -> Self {
        self.remote = address;
        self
    }

    /// The server's address. Default: `127.0.0.1:80`.
    pub fn local(mut self, address: SocketAddr) -> Self {
        self.local = address;
        self
    }

    /// Whether the client came by HTTPS. Default: no.
    pub fn https(mut self, https: bool) -> Self {
        self.https = https;
        self
    }

    /// One more variable of `$_SERVER`; it wins over what the request says.
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Bytes that the response's body may have. One that gets larger is [`Error::Limit`](crate::Error::Limit)
    /// ([`Limit::Response`](crate::Limit::Response)): instead of the response, as long as nothing of it has left, and else its body
    /// breaks off. The script notices as when its client goes away. Default: no limit.
    pub fn max_response(mut self, bytes: usize) -> Self {
        self.max_response = Some(bytes);
        self
    }

    /// The PHP file.
    pub fn script(&self) -> &Path {
        &self.script
    }

    /// A header's value; several are joined as the standards say.
    fn header(&self, name: &http::HeaderName) -> Option<Cow<'_, [u8]>> {
        let mut values = self.parts.headers.get_all(name).iter();
        let mut joined = Cow::Borrowed(values.next()?.as_bytes());
        let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
        for value in values {
            let joined = joined.to_mut();
            joined.extend_from_slice(separator);
            joined.extend_from_slice(value.as_bytes());
        }
        Some(joined)
    }

    /// As [`Page::header`], of one that few requests have: with the few headers of most, comparing names is cheaper than a look-up.
    fn seldom(&self, name: &http::HeaderName) -> Option<Cow<'_, [u8]>> {
        self.parts.headers.keys().any(|key| key == name).then(|| self.header(name))?
    }

    /// What the SAPI needs before a script starts.
    pub(super) fn basics(&self) -> Basics<'_> {
        let http10 = self.parts.version < Version::HTTP_11;
        Basics {
            method: self.parts.method.as_str(),
            query: self.parts.uri.query().unwrap_or_default(),
            content_type: self.seldom(&CONTENT_TYPE),
            content_length: self.length().unwrap_or(-1),
            cookies: self.seldom(&COOKIE),
            authorization: self.seldom(&AUTHORIZATION),
            protocol: if http10 { 1000 } else { 1001 },
            name: self.own("SCRIPT_NAME").map_or_else(|| self.script_name().into(), Cow::Borrowed),
            script: self.own("SCRIPT_FILENAME").unwrap_or_else(|| self.script.as_os_str().as_encoded_bytes()),
            root: self.own("DOCUMENT_ROOT").unwrap_or_else(|| self.root_path().as_encoded_bytes()),
        }
    }

    /// A variable that the page was given.
    fn own(&self, name: &str) -> Option<&[u8]> {
        self.variables.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_slice())
    }

    fn root_path(&self) -> &OsStr {
        self.root().unwrap_or(Path::new("")).as_os_str()
    }

    /// The body's length, where it is told.
    fn length(&self) -> Option<i64> {
        std::str::from_utf8(&self.seldom(&CONTENT_LENGTH)?).ok()?.parse().ok()
    }

    /// Tells `$_SERVER`: names and values, in order.
    pub(super) fn variables<E>(&self, tell: impl FnMut(&str, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut all = Variables { own: &self.variables, tell, text: String::new() };
        let uri = &self.parts.uri;
        let root = self.root_path();
        let script = self.script.as_os_str().as_encoded_bytes();
        let name = self.script_name();
        let place = [&name, self.path_info.as_bytes()].concat();
        all.set("QUERY_STRING", uri.query().unwrap_or_default())?;
        all.set("REQUEST_METHOD", self.parts.method.as_str())?;
        all.set("CONTENT_TYPE", self.header(&CONTENT_TYPE).unwrap_or_default())?;
        all.set("CONTENT_LENGTH", self.header(&CONTENT_LENGTH).unwrap_or_default())?;
        all.set("SCRIPT_NAME", &name)?;
        all.set("REQUEST_URI", uri.path_and_query().map_or(uri.path(), |target| target.as_str()))?;
        all.set("DOCUMENT_URI", &place)?;
        all.set("DOCUMENT_ROOT", root.as_encoded_bytes())?;
        all.set("SERVER_PROTOCOL", protocol(self.parts.version))?;
        all.set("REQUEST_SCHEME", if self.https { "https" } else { "http" })?;
        if self.https {
            all.set("HTTPS", "on")?;
        }
        all.set("GATEWAY_INTERFACE", "CGI/1.1")?;
        all.set("SERVER_SOFTWARE", concat!("Sidestack/", env!("CARGO_PKG_VERSION")))?;
        all.display("REMOTE_ADDR", self.remote.ip())?;
        all.display("REMOTE_PORT", self.remote.port())?;
        all.display("SERVER_ADDR", self.local.ip())?;
        all.display("SERVER_PORT", self.local.port())?;
        all.set("SERVER_NAME", &*self.server_name())?;
        all.set("REDIRECT_STATUS", "200")?;
        all.set("SCRIPT_FILENAME", script)?;
        if !self.path_info.is_empty() {
            all.set("PATH_INFO", self.path_info.as_str())?;
            all.set("PATH_TRANSLATED", [root.as_encoded_bytes(), self.path_info.as_bytes()].concat())?;
        }
        all.set("PHP_SELF", &place)?;
        let mut variable = String::new();
        for header in self.parts.headers.keys().filter(|name| !name.as_str().contains('_')) {
            variable.clear();
            variable.push_str("HTTP_");
            // Names of headers are ASCII.
            variable.extend(header.as_str().bytes().map(|byte| match byte {
                b'-' => '_',
                byte => char::from(byte.to_ascii_uppercase()),
            }));
            all.set(&variable, self.header(header).unwrap_or_default())?;
        }
        self.variables.iter().try_for_each(|(name, value)| (all.tell)(name, value))
    }

    /// Tells the headers as sent, for `getallheaders()`: names with their words capitalised.
    pub(super) fn headers<E>(&self, mut tell: impl FnMut(&str, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut headers = self.parts.headers.keys();
        headers.try_for_each(|name| tell(&capitalised(name.as_str()), &self.header(name).unwrap_or_default()))
    }

    fn root(&self) -> Option<&Path> {
        self.root.as_deref().or_else(|| self.script.parent())
    }

    /// The script's path below the document root, with `/` before it; its file name if it lies elsewhere.
    fn script_name(&self) -> Vec<u8> {
        let below = self.root().and_then(|root| below(&self.script, root));
        let name = below.unwrap_or_else(|| self.script.file_name().unwrap_or_default().as_encoded_bytes());
        [b"/", name].concat()
    }

    fn server_name(&self) -> Cow<'_, str> {
        let host = self.parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| self.parts.uri.host()).unwrap_or_default();
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        if name.is_empty() { self.local.ip().to_string().into() } else { name.into() }
    }
}

/// As `strip_prefix`, which takes paths apart; most need not be.
fn below<'a>(script: &'a Path, root: &Path) -> Option<&'a [u8]> {
    let rest = script.as_os_str().as_encoded_bytes().strip_prefix(root.as_os_str().as_encoded_bytes());
    let plain = rest.and_then(|rest| rest.strip_prefix(b"/"));
    plain.or_else(|| script.strip_prefix(root).ok().map(|rest| rest.as_os_str().as_encoded_bytes()))
}

/// See [`Page::basics`].
pub(super) struct Basics<'a> {
    pub method: &'a str,
    pub query: &'a str,
    pub content_type: Option<Cow<'a, [u8]>>,
    /// -1: not told.
    pub content_length: i64,
    pub cookies: Option<Cow<'a, [u8]>>,
    pub authorization: Option<Cow<'a, [u8]>>,
    /// As PHP counts: 1001 is HTTP/1.1.
    pub protocol: i64,
    /// `SCRIPT_NAME`.
    pub name: Cow<'a, [u8]>,
    /// `SCRIPT_FILENAME`.
    pub script: &'a [u8],
    /// `DOCUMENT_ROOT`.
    pub root: &'a [u8],
}

/// Where variables go, unless the page has its own of that name.
struct Variables<'a, T> {
    own: &'a [(String, Vec<u8>)],
    tell: T,
    text: String,
}

impl<E, T: FnMut(&str, &[u8]) -> Result<(), E>> Variables<'_, T> {
    fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), E> {
        if self.own.iter().any(|(own, _)| own == name) {
            return Ok(());
        }
        (self.tell)(name, value.as_ref())
    }

    fn display(&mut self, name: &str, value: impl Display) -> Result<(), E> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        // Writing to a string does not fail.
        let _ = write!(text, "{value}");
        let told = self.set(name, &text);
        self.text = text;
        told
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// `content-type` as `Content-Type`.
fn capitalised(name: &str) -> String {
    let mut first = true;
    let letter = |c: char| {
        let letter = if first { c.to_ascii_uppercase() } else { c };
        first = c == '-';
        letter
    };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(request: http::request::Builder) -> Page {
        Page::new("/srv/www/app/index.php", request.body(Body::empty()).expect("a request")).document_root("/srv/www")
    }

    fn get(page: &Page, name: &str) -> Option<String> {
        let mut found = None;
        let told = page.variables(|own, value| match own == name {
            true if found.is_some() => Err("twice"),
            true => {
                found = Some(String::from_utf8(value.to_vec()).expect("text"));
                Ok(())
            }
            false => Ok(()),
        });
        assert_eq!(told, Ok(()), "{name}");
        found
    }

    #[test]
    fn the_paths_are_those_of_fpm() {
        let page = page(http::Request::get("/app/index.php/caf%C3%A9?a=1&b")).path_info("/café");
        for (name, value) in [
            ("REQUEST_URI", "/app/index.php/caf%C3%A9?a=1&b"),
            ("QUERY_STRING", "a=1&b"),
            ("DOCUMENT_URI", "/app/index.php/café"),
            ("SCRIPT_NAME", "/app/index.php"),
            ("SCRIPT_FILENAME", "/srv/www/app/index.php"),
            ("DOCUMENT_ROOT", "/srv/www"),
            ("PATH_INFO", "/café"),
            ("PATH_TRANSLATED", "/srv/www/café"),
            ("PHP_SELF", "/app/index.php/café"),
            ("CONTENT_LENGTH", ""),
        ] {
            assert_eq!(get(&page, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(get(&page, "HTTPS"), None);
    }

    #[test]
    fn headers_become_variables_unless_they_could_pose_as_others() {
        let request = http::Request::get("/")
            .header("host", "example.org:8080")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("x-forwarded-for", "1.1.1.1")
            .header("x_forwarded_for", "6.6.6.6");
        let page = page(request).https(true).variable("HTTP_COOKIE", "mine").variable("APP", "x");
        assert_eq!(get(&page, "SERVER_NAME").as_deref(), Some("example.org"));
        assert_eq!(get(&page, "HTTP_HOST").as_deref(), Some("example.org:8080"));
        assert_eq!(get(&page, "HTTP_X_FORWARDED_FOR").as_deref(), Some("1.1.1.1"));
        assert_eq!(get(&page, "HTTP_COOKIE").as_deref(), Some("mine"));
        assert_eq!((get(&page, "APP").as_deref(), get(&page, "HTTPS").as_deref()), (Some("x"), Some("on")));
        assert_eq!(page.basics().cookies.as_deref(), Some(&b"a=1; b=2"[..]));
        let mut headers = Vec::new();
        let told = page.headers(|name, _| {
            headers.push(name.to_owned());
            Ok::<_, ()>(())
        });
        assert_eq!(told, Ok(()));
        assert!(headers.contains(&"X-Forwarded-For".to_owned()));
    }

    #[test]
    fn names_of_hosts() {
        for (host, name) in [("a.test", "a.test"), ("[::1]:80", "::1"), ("", "127.0.0.1")] {
            assert_eq!(page(http::Request::get("/").header("host", host)).server_name(), name);
        }
    }
}
