<?php
// What good and bad pages do, by path: the same as app.lua.

use Sidestack\{Channel, Group, Http};

function down($n)
{
    return preg_replace_callback('/x/', fn() => down($n + 1), 'x');
}

// Thousands of errors are as asked.
ini_set('log_errors', 0);
$n = $_GET['n'] ?? '';

switch (strtok($_SERVER['REQUEST_URI'], '?')) {
    case '/ok':
        echo 'ok ', $n, ' ', array_sum(range(1, 1000));
        break;
    case '/sleep':
        usleep(5000 + $n % 20 * 1000);
        echo 'slept';
        break;
    case '/echo':
        echo file_get_contents('php://input');
        break;
    case '/large':
        for ($i = 0; $i < 16; $i++) {
            echo str_repeat('x', 1 << 16);
        }
        break;
    case '/tasks':
        // Tasks are calls of their own: the queue may be full.
        set_exception_handler(fn($e) => http_response_code(503));
        echo Group::run(function ($group) {
            $channel = new Channel(2);
            for ($i = 1; $i <= 5; $i++) {
                $group->spawn(function () use ($channel, $i) {
                    Sidestack\sleep(0.001 * $i);
                    $channel->send($i);
                });
            }
            $all = 0;
            for ($i = 0; $i < 5; $i++) {
                $all += $channel->recv();
            }
            return $all;
        });
        break;
    case '/own':
        $context = stream_context_create(['http' => ['timeout' => 0.5]]);
        $answer = @file_get_contents("http://{$_SERVER['HTTP_HOST']}/ok?n=$n", false, $context);
        echo $answer === false ? 'not asked' : 'asked';
        break;
    case '/background':
        // Fibers of PHP's own that nobody goes on with.
        $fiber = new Fiber(function () {
            usleep(1000);
            Fiber::suspend();
        });
        $fiber->start();
        echo 'left';
        break;

    // The bad ones.
    case '/loop':
        while (true) {
        }
    case '/stubborn':
        register_shutdown_function(function () {
            while (true) {
            }
        });
        while (true) {
            try {
                while (true) {
                }
            } catch (Throwable) {
            }
        }
    case '/recurse':
        function again($n)
        {
            return 1 + again($n + 1);
        }
        echo again(0);
        break;
    case '/deep':
        echo down(0);
        break;
    case '/hungry':
        for ($all = [], $i = 1; ; $i++) {
            $all[] = str_repeat('x', 10000) . $i;
        }
    case '/bomb':
        echo str_repeat('x', 1 << 40);
        break;
    case '/error':
        throw new DomainException('as asked');
    case '/host':
        echo Sidestack\sleep(-1);
        break;
    case '/refused':
        echo Http::get('http://127.0.0.1:1/', timeout: 0.2)->body;
        break;
    case '/wrong':
        http_response_code(500);
        new PDO('sqlite:/nowhere/at/all');
        break;
    case '/stuck':
        (new Channel(1))->recv();
}
