//! Without the feature `hooks`: nothing is caught.
#![doc(hidden)]

use crate::host::Module;

/// No host functions.
pub(crate) fn module() -> Option<Module> {
    None
}
