//! Turns words of a command line into a tool's arguments, by its schema. Pure.
//!
//! What the schema does not know is refused, since it is a slip of the pen; what
//! it leaves open is taken as it is. Defaults are the server's.

use serde_json::Value;

use super::schema::{Kind, MAX_STEPS, Schema};
use super::tools::names;

/// What the words come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    /// The arguments.
    Json(String),
    /// `--help`, which the tool does not have.
    Help,
}

/// Why they make no sense: a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

impl Arguments {
    /// Reads the words.
    pub(super) fn of(document: &Value, words: &[String]) -> Result<Self, Refused> {
        let form = Form::of(document);
        let help = matches!(words, [only] if only == "--help" || only == "-h");
        if help && form.find("help").is_none() {
            return Ok(Self::Help);
        }
        let mut given: Vec<Given> = Vec::new();
        let mut rest = words.iter().map(String::as_str).peekable();
        if rest.peek() == Some(&"--") {
            rest.next();
        }
        let mut position = words.len() - rest.len();
        while let Some(word) = rest.next() {
            position = position.max(words.len() - rest.len());
            let (name, text) = form.read(word, position, &mut rest)?;
            match given.iter_mut().find(|one| one.name == name) {
                Some(one) => one.texts.push(text),
                None => given.push(Given {
                    name,
                    texts: vec![text],
                }),
            }
        }
        form.refuse_missing(&given)?;
        let members: Result<Vec<String>, Refused> =
            given.iter().map(|one| form.member(one)).collect();
        Ok(Self::Json(format!("{{{}}}", members?.join(","))))
    }
}

struct Given {
    name: String,
    texts: Vec<String>,
}

/// The arguments that a tool has.
struct Form<'a> {
    schema: Schema<'a>,
    properties: Vec<(&'a str, &'a Value)>,
    required: Vec<&'a str>,
    /// What others may be; `None`: there are none.
    others: Option<&'a Value>,
}

impl<'a> Form<'a> {
    fn of(document: &'a Value) -> Self {
        let mut form = Self {
            schema: Schema::of(document),
            properties: Vec::new(),
            required: Vec::new(),
            others: None,
        };
        let mut closed = false;
        form.collect(document, &mut closed, 0, &mut { MAX_STEPS });
        if form.properties.is_empty() && form.others.is_none() && !closed {
            // It does not say anything, so it allows everything.
            form.others = Some(&Value::Null);
        }
        form
    }

    fn collect(&mut self, schema: &'a Value, closed: &mut bool, depth: usize, steps: &mut usize) {
        let schema = self.schema.at(schema).resolved();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if self.find(name).is_none() {
                self.properties.push((name, property));
            }
        }
        match &schema["additionalProperties"] {
            Value::Null => {}
            Value::Bool(false) => *closed = true,
            others => self.others = Some(others),
        }
        if depth == 0 {
            self.require(schema);
        }
        for group in ["allOf", "anyOf", "oneOf"] {
            for member in schema[group].as_array().into_iter().flatten() {
                if group == "allOf" {
                    self.require(self.schema.at(member).resolved());
                }
                if depth < 8 && *steps > 0 {
                    *steps -= 1;
                    self.collect(member, closed, depth + 1, steps);
                }
            }
        }
    }

    fn require(&mut self, schema: &'a Value) {
        let required = schema["required"].as_array().into_iter().flatten();
        self.required.extend(required.filter_map(Value::as_str));
    }

    fn find(&self, name: &str) -> Option<&'a Value> {
        let mut properties = self.properties.iter();
        let found = properties.find(|(known, _)| *known == name);
        found.map(|(_, property)| *property)
    }

    /// Returns the argument that is meant: this one, or the only one whose name
    /// is the same but for how its words are joined.
    fn meant(&self, name: &str) -> Option<(String, &'a Value)> {
        if let Some(property) = self.find(name) {
            return Some((name.to_owned(), property));
        }
        let wanted = joined(name);
        let mut alike = self
            .properties
            .iter()
            .filter(|(known, _)| joined(known) == wanted);
        match (alike.next(), alike.next()) {
            (Some((known, property)), None) => Some(((*known).to_owned(), *property)),
            _ => None,
        }
    }

    /// Reads one `--name value`.
    fn read<'w>(
        &self,
        word: &str,
        position: usize,
        rest: &mut std::iter::Peekable<impl Iterator<Item = &'w str>>,
    ) -> Result<(String, String), Refused> {
        let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
            return Err(Refused(format!(
                "word {position} after the tool's name is not --name or --name=value; {}",
                self.known()
            )));
        };
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let others = || self.others.map(|others| (name.to_owned(), others));
        let Some((name, property)) = self.meant(name).or_else(|| {
            let negated = self.negated(name).filter(|_| inline.is_none());
            negated.is_none().then(others).flatten()
        }) else {
            if let Some(name) = self.negated(name).filter(|_| inline.is_none()) {
                return Ok((name, "false".into()));
            }
            return Err(self.unknown(name));
        };
        if let Some(value) = inline {
            return Ok((name, value));
        }
        let kinds = self.schema.at(property).alternatives();
        if kinds.iter().any(|one| one.kind == Kind::Boolean) {
            if let Some(said) = rest.next_if(|next| matches!(*next, "true" | "false")) {
                return Ok((name, said.to_owned()));
            }
            let only = kinds
                .iter()
                .all(|one| matches!(one.kind, Kind::Boolean | Kind::Null));
            let stray = rest.peek().filter(|next| !next.starts_with("--"));
            if only && stray.is_some() {
                return Err(Refused(format!(
                    "--{name} is a boolean: write --{name} or --no-{name}, with true or false behind it or nothing"
                )));
            }
            if only || rest.peek().is_none_or(|next| next.starts_with("--")) {
                return Ok((name, "true".into()));
            }
        }
        match rest.next_if(|next| !next.starts_with("--") || *next == "--") {
            Some(value) => Ok((name, value.to_owned())),
            None => Err(Refused(format!(
                "--{name} needs a value, which is {} (one that begins with --: --{name}=VALUE)",
                self.schema.at(property).words()
            ))),
        }
    }

    /// Returns the switch that `no-...` turns off.
    fn negated(&self, name: &str) -> Option<String> {
        let (name, property) = self.meant(name.strip_prefix("no-")?)?;
        let kinds = self.schema.at(property).alternatives();
        let switch = kinds.iter().any(|one| one.kind == Kind::Boolean);
        switch.then_some(name)
    }

    fn unknown(&self, name: &str) -> Refused {
        let ours = match name {
            // It may stand here, but for what it was given.
            "json" => " (all arguments at once: --json with a JSON object, @FILE or -)",
            "output" | "save-to" | "header" | "header-file" | "transport" | "request-timeout"
            | "debug" | "verbose" | "silent" => {
                " (a flag of mcp-remote stands before the tool's name)"
            }
            _ => "",
        };
        Refused(format!("it has no --{name}{ours}; {}", self.known()))
    }

    fn known(&self) -> String {
        match self.properties.is_empty() {
            true => "it takes no arguments".into(),
            false => {
                let flags: Vec<String> = self
                    .properties
                    .iter()
                    .map(|(name, _)| format!("--{name}"))
                    .collect();
                format!("it has {}", names(flags.iter().map(String::as_str)))
            }
        }
    }

    fn refuse_missing(&self, given: &[Given]) -> Result<(), Refused> {
        let mut missing: Vec<&str> = Vec::new();
        for name in &self.required {
            if !given.iter().any(|one| one.name == *name) && !missing.contains(name) {
                missing.push(name);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let flag = |name: &&str| {
            let words = self.find(name).map(|found| self.schema.at(found).words());
            format!("--{name} ({})", words.unwrap_or_else(|| "any".into()))
        };
        let flags: Vec<String> = missing.iter().map(flag).collect();
        let flags = names(flags.iter().map(String::as_str));
        Err(Refused(format!("{flags} is missing; {}", self.known())))
    }

    fn member(&self, given: &Given) -> Result<String, Refused> {
        let name = given.name.as_str();
        let property = self.find(name).or(self.others).unwrap_or(&Value::Null);
        let schema = self.schema.at(property);
        let texts: Vec<&str> = given.texts.iter().map(String::as_str).collect();
        let refused = |wanted| {
            let text = shown(&texts);
            Refused(format!("--{name} is {wanted}, not {text}"))
        };
        let json = match (schema.elements(&texts), texts.as_slice()) {
            (Some(array), _) => array.map_err(refused)?,
            (None, [text]) => schema.json(text).map_err(refused)?,
            (None, _) => {
                let wanted = schema.words();
                return Err(Refused(format!(
                    "--{name} is given {} times and is {wanted}",
                    texts.len()
                )));
            }
        };
        Ok(format!("{}:{json}", Value::from(name)))
    }
}

/// A name without what joins its words.
fn joined(name: &str) -> String {
    let letters = name.chars().filter(|letter| !matches!(letter, '-' | '_'));
    letters.flat_map(char::to_lowercase).collect()
}

/// What was typed, for a sentence.
fn shown(texts: &[&str]) -> String {
    let text = texts.join(", ");
    let short: String = text.chars().take(60).collect();
    match short.len() == text.len() {
        true => format!("{short:?}"),
        false => format!("{short:?}..."),
    }
}

#[cfg(test)]
#[path = "arguments/tests.rs"]
mod tests;
