//! A real application, DokuWiki as Debian packages it, unchanged, served and driven in a real browser.

use std::path::Path;

use crate::browser::Browser;
use crate::client::{copy, serve_folder};
use crate::common::Folder;
use crate::server::skip;

/// The package's folders as one site that can be written to. Nothing in it is changed but where its parts lie.
fn installed() -> Folder {
    let folder = Folder::new();
    copy("/usr/share/dokuwiki", folder.path());
    for (from, to) in [
        ("/var/lib/dokuwiki/lib/plugins", "lib/plugins"),
        ("/var/lib/dokuwiki/lib/tpl", "lib/tpl"),
        ("/var/lib/dokuwiki/data", "data"),
        ("/etc/dokuwiki", "conf"),
    ] {
        let place = folder.path().join(to);
        // A link out of the site, in the package.
        let _ = std::fs::remove_file(&place);
        std::fs::create_dir_all(&place).expect("made");
        copy(from, &place);
    }
    // The package's own paths are those of an installed system.
    let (conf, data) = (folder.path().join("conf"), folder.path().join("data"));
    std::fs::write(
        folder.path().join("inc/preload.php"),
        format!(
            "<?php define('DOKU_CONF', '{}/'); define('DOKU_E_LEVEL', E_ALL & ~E_DEPRECATED & ~E_NOTICE & ~E_WARNING);",
            conf.display()
        ),
    )
    .expect("written");
    std::fs::write(
        conf.join("local.php"),
        format!("<?php $conf['title'] = 'Fiber wiki'; $conf['savedir'] = '{}'; $conf['useacl'] = 0; $conf['updatecheck'] = 0;", data.display()),
    )
    .expect("written");
    for name in ["acl.auth.php", "users.auth.php"] {
        let _ = std::fs::remove_file(conf.join(name));
        std::fs::write(conf.join(name), "# none\n").expect("written");
    }
    folder
}

#[test]
fn dokuwiki_in_a_browser() {
    if !Path::new("/usr/share/dokuwiki/doku.php").exists() {
        return skip("dokuwiki (Debian package dokuwiki)");
    }
    let Some(browser) = Browser::start() else { return };
    let server = serve_folder(installed(), &["-d", "display_errors=0", "-d", "memory_limit=128M"]);
    let url = |path: &str| format!("http://{}/{path}", server.address);

    browser.open(&url("doku.php?id=start"));
    browser.shows("Fiber wiki");
    // The page is styled: scripts and styles are made by PHP too (lib/exe/css.php, js.php).
    let styles = browser.run(
        "const count = rules => Array.from(rules).reduce((n, rule) => n + 1 + count(rule.cssRules ?? []), 0);
        return Array.from(document.styleSheets).reduce((n, sheet) => n + count(sheet.cssRules), 0)",
    );
    assert!(styles.as_i64().is_some_and(|rules| rules > 100), "{styles} style rules");
    assert_eq!(browser.run("return typeof jQuery"), "function");

    browser.open(&url("doku.php?id=fibers&do=edit"));
    browser.type_into("textarea[name=wikitext]", "====== Fibers ======\nMany **requests** on one thread: äöü €.\n");
    browser.click("button[name='do[save]']");
    browser.shows("Many requests on one thread: äöü €.");
    assert_eq!(browser.run("return document.querySelector('h1.sectionedit1').innerText"), "Fibers");

    browser.open(&url("doku.php?id=start&do=search&q=requests"));
    browser.shows("fibers");
    browser.open(&url("doku.php?id=fibers&do=revisions"));
    browser.shows("created");
    browser.open(&url("lib/images/fileicons/pdf.png"));
    assert!(browser.run("return document.images[0].naturalWidth").as_i64().is_some_and(|width| width > 0));
}
