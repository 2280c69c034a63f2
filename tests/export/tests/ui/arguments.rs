#[sidestack::export]
fn owned(text: String) -> i32 {
    text.len() as i32
}

#[sidestack::export]
fn listed(items: Vec<u8>) -> i32 {
    items.len() as i32
}

#[sidestack::export]
async fn pair(both: (i32, i32)) -> i32 {
    both.0
}

#[sidestack::export]
fn texts(items: &[&str]) -> i32 {
    items.len() as i32
}

struct Own;

#[sidestack::export]
fn pointed(to: *const Own) -> bool {
    to.is_null()
}

fn main() {}
