UPDATE hot SET n = n + 1 WHERE k = 1;
