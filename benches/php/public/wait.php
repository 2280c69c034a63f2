<?php
// A page that waits 20 ms, as for a database. Unchanged PHP: under Sidestack the request's fiber waits.
usleep(20000);
echo "waited\n";
