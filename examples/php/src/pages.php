<?php

function answer(): void
{
    $path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
    match (true) {
        $path === '/' => page('Hello from PHP ' . PHP_VERSION, form()),
        $path === '/hello' => page('Hello ' . htmlspecialchars($_REQUEST['name'] ?? 'you')),
        $path === '/slow' => slow(),
        $path === '/stream' => stream(),
        default => missing($path),
    };
}

function page(string $title, string $body = ''): void
{
    echo "<!DOCTYPE html><title>$title</title><link rel=stylesheet href=/style.css><h1>$title</h1>$body\n";
}

function form(): string
{
    return '<form action=/hello method=post><input name=name placeholder="your name"> <button>say hello</button></form>'
        . '<p><a href=/slow>a page that waits</a>, <a href=/stream>one that streams</a>';
}

// Waiting holds nobody else up: a thousand of these take as long as one.
function slow(): void
{
    $begun = microtime(true);
    usleep(300_000);
    page('Waited ' . round(microtime(true) - $begun, 2) . ' s');
}

function stream(): void
{
    header('Content-Type: text/plain');
    for ($line = 1; $line <= 5; $line++) {
        echo "line $line\n";
        flush();
        usleep(200_000);
    }
}

function missing(string $path): void
{
    http_response_code(404);
    page('Nothing at ' . htmlspecialchars($path));
}
