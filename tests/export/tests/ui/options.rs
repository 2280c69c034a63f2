#[sidestack::export(on_eror = -1)]
fn misspelt() {}

#[sidestack::export(foreign = anyone)]
fn unknown() {}

#[sidestack::export(no_callback = true)]
fn valued() {}

#[sidestack::export(foreign = owner, foreign = reject)]
fn twice() {}

#[sidestack::export(name = "no name")]
fn badly_named() {}

#[sidestack::export(foreign = attach)]
fn attached(cx: sidestack::Cx) {
    drop(cx);
}

fn main() {}
