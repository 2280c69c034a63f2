#[sidestack::export]
fn text() -> String {
    String::new()
}

#[sidestack::export(on_error = 0)]
fn listed() -> anyhow::Result<Vec<u8>> {
    Ok(Vec::new())
}

type Hidden = anyhow::Result<i32>;

#[sidestack::export]
fn hidden() -> Hidden {
    Ok(1)
}

fn main() {}
