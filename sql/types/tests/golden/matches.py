#!/usr/bin/env python3
"""Writes matches.tsv with a real PostgreSQL 15: what random regular expressions match in random texts.

Usage: ./matches.py -h HOST -p PORT -U USER postgres

Fields, in COPY's escaping: the expression, the text, all of the first match, and its groups as an array (NULL where
nothing matches; without groups, the match again). Expressions that PostgreSQL refuses are left out.
"""
import random
import subprocess
import sys

COUNT = 3000
SEED = 15


def atom(depth):
    kind = random.random()
    if depth > 0 and kind < 0.30:
        return "(" + choice(depth - 1) + ")"
    if depth > 0 and kind < 0.40:
        return "(?:" + choice(depth - 1) + ")"
    if kind < 0.50:
        return random.choice([".", "[ab]", "[^a]", r"\w", "[a-c]"])
    if kind < 0.54:
        return random.choice(["^", "$", r"\y", r"\m", r"\M", r"\Y", r"\A", r"\Z"])
    return random.choice("aaabbc")


def quantified(depth):
    of = atom(depth)
    if of in ("^", "$") or of.startswith("\\") and of != r"\w" or random.random() < 0.55:
        return of
    least = random.randrange(3)
    counts = [f"{{{least}}}", f"{{{least},}}", f"{{{least},{least + random.randrange(3)}}}"]
    quantifier = random.choice(["*", "*", "+", "+", "?", "?", *counts])
    return of + quantifier + random.choice(["", "", "?"])


def branch(depth):
    return "".join(quantified(depth) for _ in range(random.choice([0, 1, 1, 2, 2, 3, 4])))


def choice(depth):
    return "|".join(branch(depth) for _ in range(random.choice([1, 1, 1, 2, 2, 3])))


def main():
    random.seed(SEED)
    values = []
    for _ in range(COUNT):
        pattern = choice(random.choice([1, 2, 2, 3]))
        text = "".join(random.choice("aaabbc ") for _ in range(random.randrange(2, 10)))
        values.append(f"({len(values)}, $p${pattern}$p$, $p${text}$p$)")
    sql = f"""
        CREATE TEMP TABLE cases (n int, pattern text, subject text);
        INSERT INTO cases VALUES {", ".join(values)};
        CREATE FUNCTION pg_temp.attempt(pattern text, subject text, OUT matched text, OUT groups text[], OUT ok bool)
        AS $f$ BEGIN
          matched := regexp_substr(subject COLLATE "C", pattern); groups := regexp_match(subject COLLATE "C", pattern);
          ok := true;
        EXCEPTION WHEN OTHERS THEN NULL; END $f$ LANGUAGE plpgsql;
        CREATE TEMP TABLE results AS SELECT *, (pg_temp.attempt(pattern, subject)).* FROM cases;
        COPY (SELECT pattern, subject, matched, groups FROM results WHERE ok ORDER BY n) TO STDOUT;
    """
    asked = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *sys.argv[1:]]
    done = subprocess.run(asked, input=sql, capture_output=True, text=True, check=True)
    with open(__file__.removesuffix(".py") + ".tsv", "w", encoding="utf-8") as table:
        table.write(done.stdout)


main()
