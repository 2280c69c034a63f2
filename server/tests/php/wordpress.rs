//! A real application with a database: WordPress as Debian packages it, on MariaDB, on one interpreter thread, driven in a real
//! browser. Installed, logged in to, written in, commented on, read.
//!
//! It asks its own server too (`wp-cron.php`, its site health), while the thread is in the page that asks.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::browser::Browser;
use crate::client::{copy, serve_folder};
use crate::common::{Folder, LONG};
use crate::server::{Server as Database, skip};

/// The package's folders as one site. Its configuration is ours; nothing else is.
fn installed(socket: &str) -> Folder {
    let folder = Folder::new();
    copy("/usr/share/wordpress", folder.path());
    copy("/var/lib/wordpress/wp-content", &folder.path().join("wp-content"));
    let configuration = format!(
        "<?php
        define('DB_NAME', 'wordpress');
        define('DB_USER', 'root');
        define('DB_PASSWORD', '');
        define('DB_HOST', 'localhost:{socket}');
        define('DB_CHARSET', 'utf8mb4');
        define('WP_HTTP_BLOCK_EXTERNAL', true); // no network in tests, but its own server
        define('FS_METHOD', 'direct');
        $table_prefix = 'wp_';
        require ABSPATH . 'wp-settings.php';"
    );
    std::fs::write(folder.path().join("wp-config.php"), configuration).expect("written");
    folder
}

/// Runs a promise in the page; what it becomes.
fn wait_for(browser: &Browser, promise: &str) -> serde_json::Value {
    browser.run(&format!("window.became = null; ({promise}).then(value => {{ window.became = [value] }}, error => {{ window.became = ['' + error] }})"));
    let begun = Instant::now();
    loop {
        let became = browser.run("return window.became");
        if let Some(value) = became.get(0) {
            return value.clone();
        }
        assert!(begun.elapsed() < LONG, "{promise}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn wordpress_with_mariadb_in_a_browser() {
    if !Path::new("/usr/share/wordpress/wp-content/themes/twentytwentythree").exists() {
        return skip("wordpress (Debian packages wordpress, wordpress-theme-twentytwentythree)");
    }
    let Some((_database, socket)) = Database::mariadb(50) else { return };
    let Some(browser) = Browser::start() else { return };
    let made = Command::new("mariadb")
        .args(["--no-defaults", "--socket", &socket, "-e", "create database wordpress"])
        .output()
        .expect("mariadb");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = serve_folder(installed(&socket), &["-d", "display_errors=0", "-d", "memory_limit=256M"]);
    let url = |path: &str| format!("http://{}/{path}", server.address);

    // Nothing is there: it leads to its installation.
    browser.open(&url(""));
    browser.shows("Site Title");
    browser.type_into("#weblog_title", "Fiber news");
    browser.type_into("#user_login", "editor");
    browser.type_into("#pass1", "correct horse battery staple");
    browser.type_into("#admin_email", "editor@example.org");
    browser.click("#submit");
    browser.shows("WordPress has been installed");

    browser.open(&url("wp-login.php"));
    // A script of the page's empties the field that it puts the cursor in.
    browser.focuses("user_login");
    browser.type_into("#user_login", "editor");
    browser.type_into("#user_pass", "wrong");
    browser.click("#wp-submit");
    browser.shows("is incorrect");
    browser.focuses("user_pass");
    browser.type_into("#user_pass", "correct horse battery staple");
    browser.click("#wp-submit");
    browser.shows("Dashboard");

    // A draft by the dashboard's form, then published by the editor, which talks to the REST API.
    browser.type_into("#title", "Fibers in the news");
    browser.type_into("#content", "Many requests on one thread: äöü €.");
    browser.click("#save-post");
    browser.shows("Fibers in the news");
    let post = browser.run("return Number(new URL(document.querySelector('#dashboard_quick_press .drafts a').href).searchParams.get('post'))");
    browser.open(&url(&format!("wp-admin/post.php?post={post}&action=edit")));
    let published = "(async () => { while (!wp.data.select('core/editor').getCurrentPostId()) await new Promise(next => setTimeout(next, 50));
        wp.data.dispatch('core/editor').editPost({status: 'publish'}); await wp.data.dispatch('core/editor').savePost();
        return wp.data.select('core/editor').isCurrentPostPublished() })()";
    assert_eq!(wait_for(&browser, published), true);

    // It reaches itself, on the one thread that answers the question.
    let health = "wp.apiFetch({path: '/wp-site-health/v1/tests/loopback-requests'}).then(answer => answer.status)";
    assert_eq!(wait_for(&browser, health), "good");

    browser.open(&url(&format!("?p={post}")));
    browser.shows("Many requests on one thread: äöü €.");
    browser.type_into("#comment", "Read it <b>twice</b>.");
    browser.click("#submit");
    browser.shows("Read it twice.");
    browser.open(&url("?s=requests"));
    browser.shows("Fibers in the news");

    // An upload by the form without scripts.
    browser.open(&url("wp-admin/media-new.php?browser-uploader"));
    browser.type_into("#async-upload", "/usr/share/wordpress/wp-admin/images/w-logo-blue.png");
    browser.click("#html-upload");
    browser.shows("Media Library");
    let image = "wp.apiFetch({path: '/wp/v2/media'}).then(all => fetch(all[0].source_url)).then(image => image.headers.get('content-type'))";
    browser.open(&url(&format!("wp-admin/post.php?post={post}&action=edit")));
    assert_eq!(wait_for(&browser, image), "image/png");
}
