//! Lines of scripts, for error reports.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The files that an application's error messages name.
pub struct Sources {
    name: String,
    folder: PathBuf,
    /// The main script's text as it was loaded.
    text: String,
    loaded: SystemTime,
}

impl Sources {
    /// Of the script in this file, with its modules beside it.
    pub fn of(script: &Path) -> Self {
        let text = std::fs::read(script).unwrap_or_default();
        Sources {
            name: script.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            folder: script.parent().map_or_else(PathBuf::new, Path::to_path_buf),
            text: String::from_utf8_lossy(&text).into_owned(),
            loaded: SystemTime::now(),
        }
    }

    /// A line of a file, unless the file has been changed since it may have been loaded.
    pub fn line(&self, file: &str, number: usize) -> Option<String> {
        let nth = |text: &str| text.lines().nth(number.checked_sub(1)?).map(str::to_string);
        if file == self.name {
            return nth(&self.text);
        }
        let path = self.folder.join(file);
        if !path.starts_with(&self.folder) || std::fs::metadata(&path).ok()?.modified().ok()? > self.loaded {
            return None;
        }
        nth(&String::from_utf8_lossy(&std::fs::read(&path).ok()?))
    }
}
