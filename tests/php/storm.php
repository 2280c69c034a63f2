<?php
// Through a function of PHP's own, so that it takes C stack.
function deeper($n) { return array_map('deeper', [$n + 1]); }
function page() {
    $id = $_GET['id'];
    $begin = function ($name) use ($id) {
        echo "[$name $id begins]";
        header("X-$name: $id");
        if ($id % 3 === 0) usleep(1000);
        $word = Fiber::suspend("$name-$id");
        echo "[$name $id $word]";
        if ($id % 5 === 0) usleep(500);
        return $word;
    };
    $throws = new Fiber(function () use ($begin) { $begin('throws'); throw new RuntimeException('thrown in a fiber'); });
    $deep = new Fiber(function () use ($begin) {
        $begin('deep');
        try { deeper(0); } catch (Error $e) { echo '[', get_class($e), ' ', str_contains($e->getMessage(), 'Maximum call stack size') ? 'stack' : $e->getMessage(), ']'; }
    });
    $left = new Fiber(function () use ($begin) {
        try { $begin('left'); Fiber::suspend(); echo 'never'; } finally { echo '[left is destroyed]'; }
    });
    ob_start();
    echo '(', $throws->start('throws'), ')(', $deep->start('deep'), ')(', $left->start('left'), ')';
    $left->resume('c');
    $deep->resume('b');
    try { $throws->resume('a'); } catch (RuntimeException $e) { echo '[', $e->getMessage(), ']'; }
    unset($throws, $deep);
    echo '[end]';
}
