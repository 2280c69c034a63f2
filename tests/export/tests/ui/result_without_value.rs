use std::ffi::CStr;

#[sidestack::export]
async fn fetch(url: &CStr) -> anyhow::Result<i32> {
    Ok(url.to_bytes().len() as i32)
}

#[sidestack::export(foreign = owner)]
fn save() -> anyhow::Result<()> {
    Ok(())
}

fn main() {}
