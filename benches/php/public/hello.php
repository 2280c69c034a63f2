<?php
// The least that a page does.
echo 'Hello ', htmlspecialchars($_GET['name'] ?? 'world'), "\n";
