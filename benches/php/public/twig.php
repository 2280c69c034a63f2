<?php
// A page of Debian's php-twig: a table of a hundred rows, from a template that is compiled once.
require '/usr/share/php/Twig/autoload.php';

$twig = new Twig\Environment(new Twig\Loader\FilesystemLoader(__DIR__ . '/templates'), [
    'cache' => getenv('BENCH_CACHE') ?: sys_get_temp_dir() . '/sidestack-bench-twig-' . PHP_VERSION,
]);
$rows = [];
for ($i = 0; $i < 100; $i++) {
    $rows[] = ['id' => $i, 'name' => "Name <$i>", 'price' => $i * 1.5];
}
echo $twig->render('table.html.twig', ['title' => 'Prices', 'rows' => $rows]);
