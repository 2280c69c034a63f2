//! Tests of the feature `hooks`: the C guests of csrc, and what the tests need to run them.

// The C code calls the bridge, which is linked only if the crate is named.
use sidestack as _;

pub mod cases;
pub mod libraries;
pub mod server;

use futures_util::stream::{FuturesUnordered, TryStreamExt};
use sidestack::{Call, Error};

/// The results of all, in order; or the first failure in time, since the others may wait for that one.
pub async fn all(calls: Vec<Call<i64>>) -> Result<Vec<i64>, Error> {
    let numbered = calls.into_iter().enumerate().map(async |(i, call)| Ok::<_, Error>((i, call.await?)));
    let mut values: Vec<(usize, i64)> = numbered.collect::<FuturesUnordered<_>>().try_collect().await?;
    values.sort_unstable();
    Ok(values.into_iter().map(|(_, value)| value).collect())
}
