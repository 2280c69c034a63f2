<?php
// The front controller: what is no file below this folder comes here. Every request is a fiber.
require __DIR__ . '/../src/pages.php';

// Without workers the script runs from its top for each request. With them (`--workers 8`) it boots once, and answers in a loop.
if (isset($_SERVER['FRANKENPHP_WORKER'])) {
    while (frankenphp_handle_request(answer(...)));
} else {
    answer();
}
