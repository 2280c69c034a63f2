#[sidestack::export(on_error = "none")]
fn wrong_type() -> anyhow::Result<i32> {
    Ok(1)
}

#[sidestack::export(on_error = 0)]
fn status() -> anyhow::Result<()> {
    Ok(())
}

#[sidestack::export(on_error = 1)]
fn nothing() {}

#[sidestack::export(out)]
fn out_of_what() -> anyhow::Result<()> {
    Ok(())
}

#[sidestack::export(out)]
fn plain() -> i32 {
    1
}

fn main() {}
