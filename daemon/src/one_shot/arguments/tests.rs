use super::*;

const SCHEMA: &str = r##"{"type":"object","required":["text"],
 "$defs":{"Level":{"enum":["low","high",3,true]},"Deep":{"$ref":"#/$defs/Level"}},
 "properties":{
  "text":{"type":"string"},"count":{"type":"integer","default":3},"ratio":{"type":"number"},
  "dry_run":{"type":"boolean"},"tags":{"type":"array","items":{"type":"string"}},
  "ids":{"type":"array","items":{"type":"integer"}},"options":{"type":"object"},
  "maybe":{"type":["string","null"]},"either":{"anyOf":[{"type":"integer"},{"type":"null"}]},
  "level":{"$ref":"#/$defs/Deep"},"free":{},"only":{"const":"x"},
  "flagOrText":{"oneOf":[{"type":"boolean"},{"type":"string"}]},
  "no-op":{"type":"boolean"},"loop":{"$ref":"#/properties/loop"},
  "oneOrMore":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"}}]}}}"##;

fn of(schema: &str, words: &[&str]) -> Result<String, String> {
    let schema: Value = serde_json::from_str(schema).expect("valid");
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    match Arguments::of(&schema, &words) {
        Ok(Arguments::Json(json)) => {
            serde_json::from_str::<serde::de::IgnoredAny>(&json).expect("valid");
            Ok(json)
        }
        Ok(Arguments::Help) => Ok("help".into()),
        Err(Refused(why)) => Err(why),
    }
}

fn with_text(words: &[&str]) -> Result<String, String> {
    let words = [&["--text", "t"], words].concat();
    let json = of(SCHEMA, &words)?;
    let rest = json.strip_prefix(r#"{"text":"t""#).expect("it is first");
    let rest = rest.trim_start_matches(',').strip_suffix('}');
    Ok(rest.expect("an object").to_owned())
}

#[test]
fn words_become_what_the_schema_says() {
    for (words, json) in [
        (&["--count", "7"][..], r#""count":7"#),
        (
            &["--count=-12345678901234567890"],
            r#""count":-12345678901234567890"#,
        ),
        (&["--ratio", "1.50e3"], r#""ratio":1.50e3"#),
        (&["--dry_run"], r#""dry_run":true"#),
        (&["--dry-run", "false"], r#""dry_run":false"#),
        (&["--no-dry-run"], r#""dry_run":false"#),
        (&["--dryRun=true"], r#""dry_run":true"#),
        (&["--no-op"], r#""no-op":true"#),
        (&["--tags", "a", "--tags", "5"], r#""tags":["a","5"]"#),
        (&["--tags", "a"], r#""tags":["a"]"#),
        (&["--tags", r#"["a", "b"]"#], r#""tags":["a", "b"]"#),
        (&["--ids", "1", "--ids=2"], r#""ids":[1,2]"#),
        (&["--options", r#"{"a":1e400}"#], r#""options":{"a":1e400}"#),
        (&["--maybe", "null"], r#""maybe":null"#),
        (&["--maybe", "5"], r#""maybe":"5""#),
        (&["--either", "null"], r#""either":null"#),
        (&["--either", "5"], r#""either":5"#),
        (&["--level", "high"], r#""level":"high""#),
        (&["--level", "3"], r#""level":3"#),
        (&["--free", "x y"], r#""free":"x y""#),
        (&["--free", "[1]"], r#""free":[1]"#),
        (&["--loop", "a"], r#""loop":"a""#),
        (&["--flag-or-text"], r#""flagOrText":true"#),
        (&["--flagOrText", "word"], r#""flagOrText":"word""#),
        (&["--oneOrMore", "a"], r#""oneOrMore":"a""#),
        (
            &["--oneOrMore", "a", "--oneOrMore", "b"],
            r#""oneOrMore":["a","b"]"#,
        ),
    ] {
        assert_eq!(with_text(words).as_deref(), Ok(json), "{words:?}");
    }
    assert_eq!(
        of(SCHEMA, &["--", "--text", "--"]).as_deref(),
        Ok(r#"{"text":"--"}"#)
    );
    assert_eq!(
        of(SCHEMA, &["--text=--a"]).as_deref(),
        Ok(r#"{"text":"--a"}"#)
    );
    assert_eq!(of(SCHEMA, &["--text="]).as_deref(), Ok(r#"{"text":""}"#));
    assert_eq!(
        of(SCHEMA, &["--text", "5\n\"é"]).as_deref(),
        Ok(r#"{"text":"5\n\"é"}"#)
    );
    assert_eq!(of(SCHEMA, &["--help"]).as_deref(), Ok("help"));
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    for (words, why) in [
        (&["--count", "7.5"][..], "--count is integer, not \"7.5\""),
        (&["--count", "007"], "--count is integer"),
        (&["--ratio", "1 "], "--ratio is number"),
        (&["--dry_run=yes"], "--dry_run is boolean, not \"yes\""),
        (&["--ids", "a"], "--ids is integer, not \"a\""),
        (&["--options", "a"], "--options is JSON object"),
        (
            &["--level", "medium"],
            "--level is low|high|3|true, not \"medium\"",
        ),
        (&["--only", "y"], "--only is x"),
        (
            &["--count", "1", "--count", "2"],
            "--count is given 2 times and is integer",
        ),
        (&["--colour", "red"], "it has no --colour; it has --"),
        (&["--output", "json"], "stands before the tool's name"),
        (&["--silent"], "stands before the tool's name"),
        (&["--json", "[1]"], "--json with a JSON object"),
        (
            &["--dry-run", "yes"],
            "--dry_run is a boolean: write --dry_run or --no-dry_run",
        ),
        (&["--no-count"], "it has no --no-count"),
        (&["--count"], "--count needs a value, which is integer"),
        (
            &["--tags", "--count"],
            "--tags needs a value, which is array of string",
        ),
        (&["word"], "word 3 after the tool's name is not --name"),
    ] {
        let refused = with_text(words).expect_err("no sense");
        assert!(refused.contains(why), "{words:?}: {refused}");
    }
    let missing = of(SCHEMA, &[]).expect_err("missing");
    assert!(
        missing.starts_with("--text (string) is missing"),
        "{missing}"
    );
}

#[test]
fn a_schema_that_does_not_say_allows_what_it_must() {
    for open in [
        r#"{"type":"object"}"#,
        "null",
        r#"{"additionalProperties":true}"#,
    ] {
        let json = of(open, &["--a", "1", "--b", "x"]);
        assert_eq!(json.as_deref(), Ok(r#"{"a":1,"b":"x"}"#), "{open}");
    }
    let closed = r#"{"additionalProperties":false,"properties":{}}"#;
    let refused = of(closed, &["--a", "1"]).expect_err("closed");
    assert!(refused.contains("it takes no arguments"), "{refused}");
    let typed = r#"{"additionalProperties":{"type":"string"},"properties":{"a":{}}}"#;
    assert_eq!(of(typed, &["--b", "1"]).as_deref(), Ok(r#"{"b":"1"}"#));
    let parts = r##"{"allOf":[{"$ref":"#/$defs/A"}],"$defs":{"A":{"required":["a"],"properties":{"a":{"type":"integer"}}}}}"##;
    assert_eq!(of(parts, &["--a", "1"]).as_deref(), Ok(r#"{"a":1}"#));
    assert!(of(parts, &[]).is_err());
}

#[test]
fn what_is_inside_is_looked_at_as_deep_as_the_schema_says() {
    let schema = r##"{"$defs":{
     "Tree":{"type":"object","properties":{"n":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/Tree"}}}},
     "Wide":{"anyOf":[{"$ref":"#/$defs/Wide"},{"$ref":"#/$defs/Pair"},{"type":"array","items":{"$ref":"#/$defs/Wide"}}]},
     "Pair":{"type":"array","prefixItems":[{"type":"string"},{"type":"number"}]}},
     "properties":{"tags":{"type":"array","items":{"type":"string"}},
     "o":{"type":"object","properties":{"k":{"type":"integer"},"e":{"enum":["a",1]}},"additionalProperties":{"type":"boolean"}},
     "tree":{"$ref":"#/$defs/Tree"},"wide":{"$ref":"#/$defs/Wide"},"pair":{"$ref":"#/$defs/Pair"},
     "maybe":{"anyOf":[{"type":"array","items":{"type":"integer"}},{"type":"null"}]},
     "pattern":{"type":"object","patternProperties":{"^a":{"type":"string"}},"additionalProperties":{"type":"boolean"}},
     "open":{"type":"object","additionalProperties":false}}}"##;
    for (flag, json) in [
        ("--tags", r#"["a"]"#),
        ("--o", r#"{"k":1.0,"e":1.0,"other":true}"#),
        ("--o", r#"{"k":123456789012345678901234567890,"e":"a"}"#),
        ("--tree", r#"{"n":1,"kids":[{"n":2,"kids":[]}],"more":"x"}"#),
        ("--maybe", "[1,2]"),
        ("--maybe", "null"),
        ("--pair", r#"["a",1.5,{}]"#),
        ("--wide", r#"[["a",1],[[]]]"#),
        ("--pattern", r#"{"ab":"x"}"#),
        ("--open", r#"{"more":1}"#),
        ("--o", r#"{"k":1e400}"#),
    ] {
        let expected = format!("{{\"{}\":{json}}}", &flag[2..]);
        assert_eq!(of(schema, &[flag, json]), Ok(expected), "{flag} {json}");
    }
    for (flag, json, said) in [
        ("--tags", "[1]", "whose [0] is string, not"),
        ("--o", r#"{"k":"x"}"#, "JSON object whose k is integer, not"),
        ("--o", r#"{"k":1.5}"#, "k is integer"),
        ("--o", r#"{"e":"b"}"#, "e is a|1"),
        ("--o", r#"{"other":1}"#, "other is boolean"),
        (
            "--tree",
            r#"{"kids":[{"n":1},{"kids":[{"n":"x"}]}]}"#,
            "whose kids[1].kids[0].n is integer",
        ),
        ("--maybe", r#"["x"]"#, "[0] is integer"),
        ("--pair", "[1]", "[0] is string"),
    ] {
        let why = of(schema, &[flag, json]).expect_err(json);
        assert!(why.contains(said), "{why}");
    }
    // What leads to itself in many ways ends.
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    drop(of(schema, &["--wide", &deep]));
    let many = format!("[{}]", vec!["[[1]]"; 30_000].join(","));
    drop(of(schema, &["--wide", &many]));
}

#[test]
fn a_schema_that_leads_to_itself_in_many_ways_ends() {
    let members = vec![r##"{"$ref":"#/$defs/W"}"##; 100].join(",");
    let schema = format!(
        r##"{{"$defs":{{"W":{{"anyOf":[{members}]}}}},"anyOf":[{members}],"properties":{{"w":{{"$ref":"#/$defs/W"}}}}}}"##
    );
    assert_eq!(of(&schema, &["--w", "1"]).as_deref(), Ok(r#"{"w":1}"#));
}
