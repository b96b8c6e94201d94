//! What a JSON Schema says a value may be, as far as text from a command line can
//! be told from it, and the JSON that a text becomes. Pure; a reference is
//! followed within the document only.

mod nested;

use serde_json::Value;
use serde_json::value::RawValue;

use nested::Misfit;

/// References and alternatives followed into one another.
const MAX_DEPTH: usize = 32;

/// Steps from a schema to those that it is made of: they may lead to each other in
/// many ways.
pub(super) const MAX_STEPS: usize = 1000;

/// Alternatives looked at for one value.
const MAX_ALTERNATIVES: usize = 64;

/// What a value may be; what is told more easily comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// One of the values that the schema names.
    Named,
    Null,
    Boolean,
    Integer,
    Number,
    Array,
    Object,
    String,
    /// The schema does not say.
    Any,
}

/// One thing that a value may be, and the schema that says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alternative<'a> {
    pub(super) kind: Kind,
    pub(super) schema: &'a Value,
}

/// A schema within its document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema<'a> {
    document: &'a Value,
    schema: &'a Value,
}

impl<'a> Schema<'a> {
    /// Takes a whole document.
    pub(super) fn of(document: &'a Value) -> Self {
        let schema = document;
        Self { document, schema }
    }

    /// Takes another schema of the same document.
    pub(super) fn at(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    /// Follows references, if they lead anywhere here.
    pub(super) fn resolved(self) -> &'a Value {
        let mut schema = self.schema;
        for _ in 0..MAX_DEPTH {
            let Some(reference) = schema["$ref"].as_str() else {
                return schema;
            };
            let found = match reference.strip_prefix('#') {
                Some("") => Some(self.document),
                Some(pointer) => self.document.pointer(&unescaped(pointer)),
                None => None,
            };
            match found {
                Some(found) => schema = found,
                None => return &Value::Null,
            }
        }
        &Value::Null
    }

    /// Returns everything that the value may be, in the order of [`Kind`].
    pub(super) fn alternatives(self) -> Vec<Alternative<'a>> {
        let mut found = Vec::new();
        self.collect(&mut found, 0, &mut { MAX_STEPS });
        found.sort_by_key(|alternative| alternative.kind);
        found
    }

    fn collect(self, found: &mut Vec<Alternative<'a>>, depth: usize, steps: &mut usize) {
        let schema = self.resolved();
        let mut add = |kind| {
            if found.len() < MAX_ALTERNATIVES {
                found.push(Alternative { kind, schema });
            }
        };
        if schema["nullable"] == true {
            add(Kind::Null);
        }
        if schema["enum"].is_array() || schema.get("const").is_some() {
            return add(Kind::Named);
        }
        let types = match &schema["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        types.into_iter().filter_map(kind).for_each(&mut add);
        if !schema["type"].is_null() {
            return;
        }
        let before = found.len();
        let groups = ["anyOf", "oneOf", "allOf"].map(|name| schema[name].as_array());
        let members = groups.into_iter().flatten().flatten();
        for member in members.take(MAX_ALTERNATIVES) {
            if depth < MAX_DEPTH && found.len() < MAX_ALTERNATIVES && *steps > 0 {
                *steps -= 1;
                self.at(member).collect(found, depth + 1, steps);
            }
        }
        let told = found[before..].iter().any(|one| one.kind != Kind::Any);
        if told {
            // A part of `allOf` that only describes says nothing of its own.
            let mut at = 0;
            found.retain(|one| {
                at += 1;
                at <= before || one.kind != Kind::Any
            });
            return;
        }
        found.truncate(before);
        let kind = match schema {
            schema if schema["properties"].is_object() => Kind::Object,
            schema if !schema["items"].is_null() => Kind::Array,
            _ => Kind::Any,
        };
        found.push(Alternative { kind, schema });
    }

    /// Turns text into JSON that this schema may allow; the error says what it
    /// wants.
    pub(super) fn json(self, text: &str) -> Result<String, String> {
        let mut misfit = None;
        for alternative in self.alternatives() {
            let Some(json) = alternative.json(text) else {
                continue;
            };
            // Numbers too large to be read are allowed, whatever is around them.
            let inside = match (alternative.kind, serde_json::from_str(&json)) {
                (Kind::Array | Kind::Object, Ok(value)) => alternative.inside(self, &value),
                _ => Ok(()),
            };
            match inside {
                Ok(()) => return Ok(json),
                Err(found) => misfit = misfit.or(Some(found)),
            }
        }
        let words = self.words();
        Err(match misfit {
            Some(Misfit { place, wanted }) => format!("{words} whose {place} is {wanted}"),
            None => words,
        })
    }

    /// Turns several texts into the elements of an array, or one text that is a
    /// JSON array; `None`: the value is no array.
    pub(super) fn elements(self, texts: &[&str]) -> Option<Result<String, String>> {
        let alternatives = self.alternatives();
        let array = alternatives
            .iter()
            .find(|alternative| alternative.kind == Kind::Array)?;
        if let [text] = texts
            && (is_json(text, '[') || alternatives.len() > 1)
        {
            return Some(self.json(text));
        }
        let items = self.at(&array.schema["items"]);
        let elements: Result<Vec<String>, String> =
            texts.iter().map(|text| items.json(text)).collect();
        Some(elements.map(|elements| format!("[{}]", elements.join(","))))
    }

    /// Says in words what the value may be.
    pub(super) fn words(self) -> String {
        let mut words: Vec<String> = Vec::new();
        for alternative in self.alternatives() {
            let word = alternative.words(self);
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words.join(" or ")
    }
}

impl Alternative<'_> {
    fn json(self, text: &str) -> Option<String> {
        let same = |wanted: &str| (text == wanted).then(|| text.to_owned());
        match self.kind {
            Kind::Named => self.named().into_iter().find_map(|value| match value {
                Value::String(name) => (name == text).then(|| value.to_string()),
                value => {
                    let json = value.to_string();
                    (json == text).then_some(json)
                }
            }),
            Kind::Null => same("null"),
            Kind::Boolean => same("true").or_else(|| same("false")),
            Kind::Integer => is_integer(text).then(|| text.to_owned()),
            Kind::Number => is_number(text).then(|| text.to_owned()),
            Kind::Array => is_json(text, '[').then(|| text.to_owned()),
            Kind::Object => is_json(text, '{').then(|| text.to_owned()),
            Kind::String => Some(Value::from(text).to_string()),
            Kind::Any => Some(match is_any_json(text) {
                true => text.to_owned(),
                false => Value::from(text).to_string(),
            }),
        }
    }

    fn named(&self) -> Vec<&Value> {
        match (self.schema.get("const"), self.schema["enum"].as_array()) {
            (Some(only), _) => vec![only],
            (None, Some(several)) => several.iter().collect(),
            (None, None) => Vec::new(),
        }
    }

    fn words(&self, within: Schema<'_>) -> String {
        match self.kind {
            Kind::Named => {
                let text = |value: &&Value| match value {
                    Value::String(name) => name.clone(),
                    value => value.to_string(),
                };
                let named: Vec<String> = self.named().iter().map(text).collect();
                named.join("|")
            }
            Kind::Null => "null".into(),
            Kind::Boolean => "boolean".into(),
            Kind::Integer => "integer".into(),
            Kind::Number => "number".into(),
            Kind::Array => {
                let items = self.schema["items"].clone();
                match Schema::at(within.detached(), &items).shallow() {
                    Some(items) => format!("array of {items}"),
                    None => "array".into(),
                }
            }
            Kind::Object => "JSON object".into(),
            Kind::String => "string".into(),
            Kind::Any => "any".into(),
        }
    }
}

impl<'a> Schema<'a> {
    /// The same document, for schemas that do not live as long.
    fn detached<'b>(self) -> Schema<'b>
    where
        'a: 'b,
    {
        self
    }

    /// Says in a word what the value may be, if one is enough.
    fn shallow(self) -> Option<&'static str> {
        match self.alternatives().as_slice() {
            [one] => match one.kind {
                Kind::Boolean => Some("boolean"),
                Kind::Integer => Some("integer"),
                Kind::Number => Some("number"),
                Kind::Object => Some("JSON object"),
                Kind::String => Some("string"),
                _ => None,
            },
            _ => None,
        }
    }
}

fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "array" => Kind::Array,
        "object" => Kind::Object,
        "string" => Kind::String,
        _ => return None,
    })
}

/// A pointer in a fragment of a URI.
fn unescaped(pointer: &str) -> String {
    match pointer.contains('%') {
        true => percent_decoded(pointer),
        false => pointer.to_owned(),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = match after {
            [high, low, ..] if byte == b'%' => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok();
                digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        bytes.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An integer as JSON writes it, however large.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all && (digits == "0" || !digits.starts_with('0'))
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && !text.ends_with(char::is_whitespace)
        && serde_json::from_str::<&RawValue>(text).is_ok()
}

fn is_json(text: &str, first: char) -> bool {
    text.trim_start().starts_with(first) && serde_json::from_str::<&RawValue>(text).is_ok()
}

fn is_any_json(text: &str) -> bool {
    !text.trim_start().starts_with('"') && serde_json::from_str::<&RawValue>(text).is_ok()
}
