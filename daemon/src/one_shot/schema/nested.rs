//! Whether the values inside an array or an object are of the types that a schema
//! wants, as deep as it says. Pure.
//!
//! What is not understood is allowed: the server has the last word. A reference is
//! followed within the document only, and the work for one value is bounded.

use std::cell::Cell;

use serde_json::Value;

use super::{Alternative, Kind, MAX_ALTERNATIVES, Schema};

/// Values looked at for one argument, each alternative of one counted; the rest are
/// allowed.
const MAX_LOOKS: u32 = 20_000;

/// A value that is not what it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Where it stands, as in `list[0].id`; empty: it is the whole.
    pub(super) place: String,
    /// What it should be.
    pub(super) wanted: String,
}

impl Misfit {
    fn within(mut self, place: &str) -> Self {
        let dot = match self.place.starts_with(|first| first != '[') {
            true => ".",
            false => "",
        };
        self.place = format!("{place}{dot}{}", self.place);
        self
    }
}

impl Alternative<'_> {
    /// Looks at what is inside an array or an object of this kind.
    pub(super) fn inside(self, within: Schema<'_>, value: &Value) -> Result<(), Misfit> {
        self.members(within, value, &Cell::new(MAX_LOOKS))
    }

    fn members(self, within: Schema<'_>, value: &Value, left: &Cell<u32>) -> Result<(), Misfit> {
        let schema = self.schema;
        match value {
            Value::Array(elements) => {
                let several = schema["items"].as_array();
                let first = schema["prefixItems"].as_array().or(several);
                for (at, element) in elements.iter().enumerate() {
                    let of = match first.map(|first| first.get(at)) {
                        Some(Some(of)) => of,
                        Some(None) if several.is_some() => &schema["additionalItems"],
                        _ => &schema["items"],
                    };
                    let fits = within.at(of).fits(element, left);
                    fits.map_err(|misfit| misfit.within(&format!("[{at}]")))?;
                }
            }
            Value::Object(members) => {
                let by_pattern = schema["patternProperties"].is_object();
                for (name, member) in members {
                    let of = match schema["properties"].get(name) {
                        Some(of) => of,
                        None if by_pattern => &Value::Null,
                        None => match &schema["additionalProperties"] {
                            // Whether it may be there at all is the server's to say.
                            Value::Bool(_) => &Value::Null,
                            of => of,
                        },
                    };
                    let fits = within.at(of).fits(member, left);
                    fits.map_err(|misfit| misfit.within(name))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_kind_of(self, value: &Value) -> bool {
        match self.kind {
            Kind::Any => true,
            Kind::Named => self.named().into_iter().any(|named| same(named, value)),
            Kind::Null => value.is_null(),
            Kind::Boolean => value.is_boolean(),
            // So large that it was read as a fraction, or written as one.
            Kind::Integer => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
            }
            Kind::Number => value.is_number(),
            Kind::Array => value.is_array(),
            Kind::Object => value.is_object(),
            Kind::String => value.is_string(),
        }
    }
}

impl Schema<'_> {
    /// Says where a value is not what this schema wants: as exactly as it can be told
    /// if it may be several things.
    fn fits(self, value: &Value, left: &Cell<u32>) -> Result<(), Misfit> {
        let alternatives = self.alternatives();
        if alternatives.len() >= MAX_ALTERNATIVES {
            // There may be more.
            return Ok(());
        }
        let mut nearest = None;
        for alternative in alternatives {
            left.set(left.get().saturating_sub(1));
            if left.get() == 0 {
                return Ok(());
            }
            if !alternative.is_kind_of(value) {
                continue;
            }
            match alternative.members(self, value, left) {
                Ok(()) => return Ok(()),
                Err(misfit) => nearest = nearest.or(Some(misfit)),
            }
        }
        Err(nearest.unwrap_or_else(|| Misfit {
            place: String::new(),
            wanted: self.words(),
        }))
    }
}

/// 1 and 1.0 are one number.
fn same(one: &Value, other: &Value) -> bool {
    let numbers = one.as_f64().zip(other.as_f64());
    one == other || numbers.is_some_and(|(one, other)| one == other)
}
