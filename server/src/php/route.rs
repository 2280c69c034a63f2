//! From a request's path to a file below the document root.
//!
//! | the path names | answered by |
//! | --- | --- |
//! | a PHP file, perhaps with more path behind it | that file; the rest is its `PATH_INFO` |
//! | another file | the file |
//! | a folder with `index.php` or `index.html` | that; without the `/` at its end, a redirect to it |
//! | nothing | the front controller: the root's `index.php`, if there is one |
//!
//! Names that begin with a dot do not exist (`.well-known` does), and neither do `..`, NUL and what the path hides behind
//! percent signs that it decodes to. Files that hold PHP source under another ending (`index.php.bak`, `.phps`, `.inc`) are
//! not served. Symbolic links are followed, as nginx does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

/// What answers a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// A PHP file, and what follows its name in the path.
    Script {
        /// The file.
        file: PathBuf,
        /// The rest of the path, decoded.
        path_info: String,
        /// The path named nothing else.
        fallback: bool,
    },
    /// Another file.
    File(PathBuf),
    /// The same path with a `/` at its end.
    Folder,
    /// The worker script, which need not be below the root.
    Worker,
    /// Nothing.
    Nothing,
}

/// Finds what answers the path of a request's target.
pub fn route(root: &Path, path: &str) -> Route {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let Some(segments) = segments(&decoded) else { return Route::Nothing };
    let mut place = root.to_path_buf();
    for (at, segment) in segments.iter().enumerate() {
        place.push(OsStr::from_bytes(segment));
        let Ok(metadata) = std::fs::metadata(&place) else { return front_controller(root) };
        if metadata.is_dir() {
            continue;
        }
        let rest = &segments[at + 1..];
        let slash = decoded.ends_with(b"/");
        return match kind(segment) {
            _ if !metadata.is_file() => Route::Nothing,
            Kind::Script => Route::Script { file: place, path_info: path_info(rest, slash), fallback: false },
            Kind::Source => Route::Nothing,
            Kind::Other if rest.is_empty() && !slash => Route::File(place),
            Kind::Other => front_controller(root),
        };
    }
    let script = place.join("index.php");
    let page = place.join("index.html");
    match (script.is_file(), page.is_file()) {
        (false, false) => front_controller(root),
        _ if !decoded.ends_with(b"/") => Route::Folder,
        (true, _) => Route::Script { file: script, path_info: String::new(), fallback: place == root },
        (false, true) => Route::File(page),
    }
}

/// The root's `index.php`.
fn front_controller(root: &Path) -> Route {
    let file = root.join("index.php");
    if file.is_file() { Route::Script { file, path_info: String::new(), fallback: true } } else { Route::Nothing }
}

/// The path's parts; `None`: it names what does not exist.
fn segments(path: &[u8]) -> Option<Vec<&[u8]>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<&[u8]> = parts.collect();
    let hidden = |part: &&[u8]| part.starts_with(b".") && *part != b".well-known" || part.contains(&0);
    (!parts.iter().any(hidden)).then_some(parts)
}

fn path_info(rest: &[&[u8]], slash: bool) -> String {
    let mut info: Vec<u8> = rest.iter().flat_map(|part| [b"/", *part].concat()).collect();
    if slash {
        info.push(b'/');
    }
    String::from_utf8_lossy(&info).into_owned()
}

enum Kind {
    Script,
    /// PHP source that is not to run, nor to be seen.
    Source,
    Other,
}

fn kind(name: &[u8]) -> Kind {
    if name.ends_with(b".php") {
        return Kind::Script;
    }
    let name = name.to_ascii_lowercase();
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    if [b".php".as_slice(), b".phtml", b".phar"].into_iter().any(has) || name.ends_with(b".inc") {
        return Kind::Source;
    }
    Kind::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "x").expect("written");
        }
        root
    }

    /// `script FILE INFO`, `file FILE`, `folder` or `nothing`.
    fn told(root: &tempfile::TempDir, path: &str) -> String {
        let below = |file: &Path| file.strip_prefix(root.path()).expect("below").display().to_string();
        match route(root.path(), path) {
            Route::Script { file, path_info, .. } => format!("script {} {path_info}", below(&file)),
            Route::File(file) => format!("file {}", below(&file)),
            Route::Folder => "folder".into(),
            Route::Worker => unreachable!("not known here"),
            Route::Nothing => "nothing".into(),
        }
    }

    #[test]
    fn scripts_files_folders_and_the_front_controller() {
        let root =
            site(&["index.php", "a.php", "style.css", "docs/index.html", "app/index.php", "empty/x/y", "ü b.txt"]);
        for (path, expected) in [
            ("/", "script index.php "),
            ("/index.php", "script index.php "),
            ("/a.php", "script a.php "),
            ("/a.php/7/x%20y", "script a.php /7/x y"),
            ("/a.php/", "script a.php /"),
            ("/style.css", "file style.css"),
            ("/style.css/", "script index.php "),
            ("/docs", "folder"),
            ("/docs/", "file docs/index.html"),
            ("/app", "folder"),
            ("/app/", "script app/index.php "),
            ("/app//./index.php", "script app/index.php "),
            ("/empty/", "script index.php "),
            ("/no/such/thing", "script index.php "),
            ("/%C3%BC%20b.txt", "file ü b.txt"),
        ] {
            assert_eq!(told(&root, path), expected, "{path}");
        }
    }

    #[test]
    fn without_a_front_controller_there_is_nothing() {
        let root = site(&["a.txt"]);
        assert_eq!((told(&root, "/"), told(&root, "/b")), ("nothing".into(), "nothing".into()));
    }

    #[test]
    fn nothing_leads_out_or_shows_sources() {
        let root = site(&[
            "index.php",
            "a.txt",
            ".env",
            ".git/config",
            ".well-known/x",
            "index.php.bak",
            "lib.inc",
            "b.PHP",
            "c.phtml",
            "d.php~",
            "sub/e.txt",
        ]);
        for path in [
            "/../a.txt",
            "/sub/../a.txt",
            "/%2e%2e/a.txt",
            "/sub/..%2fa.txt",
            "/.env",
            "/%2Eenv",
            "/.git/config",
            "/index.php.bak",
            "/lib.inc",
            "/b.PHP",
            "/c.phtml",
            "/d.php~",
            "/a.txt%00.php",
            "/...",
        ] {
            assert_eq!(told(&root, path), "nothing", "{path}");
        }
        assert_eq!(told(&root, "/.well-known/x"), "file .well-known/x");
    }
}
