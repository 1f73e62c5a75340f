//! The JSON Schema of a plan, read from the same tables of keys as everything else.
//!
//! Draft-07 with every subschema in its place (no `$ref`): the editors' TOML tools (taplo, tombi) show descriptions and
//! complete keys only then. Deployments take the keys of every kind of target, because the kind may stand in the
//! plan's `[target]`, where a schema cannot see it from a deployment; `dynbench check` is stricter.

use serde_json::{Map, Value, json};

use super::catalog::Catalog;
use super::defaults::default_json;
use super::keys::{DEPLOYMENT, PLOT, PLOTS, STATISTICS, TOP, VALUE, WORKLOAD};
use super::shape::{Key, Shape};
use crate::measure::{Better, Formula, METRICS};

/// Where a value may be an expression of the matrix instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expressions {
    Allowed,
    Refused,
}

const NAME: &str = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$";
const DURATION: &str = "^([0-9.]+(ms|s|m|h|d))+$";
const EXPRESSION: &str = "\\{\\{.*matrix.*\\}\\}";

/// The schema of plans that use these tables.
pub fn schema_json(catalog: &Catalog) -> Value {
    let mut properties = Map::new();
    for key in TOP {
        let schema = match key.name {
            "workload" => described(table(WORKLOAD.iter(), Expressions::Allowed), key),
            "workloads" => described(named(table(WORKLOAD.iter(), Expressions::Allowed)), key),
            "target" => described(target(catalog), key),
            "deployments" => described(named(deployment(catalog)), key),
            "matrix" => described(matrix(), key),
            "plots" => described(plots(catalog), key),
            "objectives" => described(objectives(), key),
            _ => property(key, Expressions::Refused),
        };
        properties.insert(key.name.to_owned(), schema);
    }
    let required: Vec<_> = TOP.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "dynbench plan",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn described(mut schema: Value, key: &Key) -> Value {
    if let Value::Object(map) = &mut schema {
        map.shift_insert(0, "description".to_owned(), json!(key.about));
    }
    schema
}

fn property(key: &Key, expressions: Expressions) -> Value {
    let mut schema = described(shape(&key.shape, expressions), key);
    if let (Value::Object(map), Some(default)) = (&mut schema, default_json(key)) {
        map.insert("default".to_owned(), default);
    }
    schema
}

fn object(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn table<'a>(keys: impl Iterator<Item = &'a Key>, expressions: Expressions) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys {
        properties.insert(key.name.to_owned(), property(key, expressions));
        if key.required {
            required.push(key.name);
        }
    }
    let mut schema = object(properties);
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn named(member: Value) -> Value {
    json!({ "type": "object", "propertyNames": { "pattern": NAME }, "additionalProperties": member })
}

fn target(catalog: &Catalog) -> Value {
    let kinds: Vec<Value> = catalog
        .targets
        .iter()
        .map(|target| {
            let mut schema = table(target.target_keys().iter(), Expressions::Allowed);
            let mut properties = Map::new();
            properties.insert("kind".to_owned(), json!({ "const": target.kind(), "description": target.about() }));
            if let Value::Object(own) = schema["properties"].take() {
                properties.extend(own);
            }
            schema["properties"] = Value::Object(properties);
            let own = target.target_keys().iter().filter(|key| key.required).map(|key| key.name);
            schema["required"] = json!(["kind"].into_iter().chain(own).collect::<Vec<_>>());
            schema
        })
        .collect();
    json!({ "type": "object", "oneOf": kinds })
}

/// Keys of all kinds together. What several kinds call the same may be as any of them says.
fn deployment(catalog: &Catalog) -> Value {
    let mut properties = Map::new();
    for key in DEPLOYMENT {
        let schema =
            if key.name == "target" { described(target(catalog), key) } else { property(key, Expressions::Allowed) };
        properties.insert(key.name.to_owned(), schema);
    }
    for kind in catalog.targets {
        for key in kind.deployment_keys() {
            let mut schema = property(key, Expressions::Allowed);
            schema["description"] = json!(format!("{} (kind = \"{}\")", key.about, kind.kind()));
            match properties.get_mut(key.name) {
                None => {
                    properties.insert(key.name.to_owned(), schema);
                }
                Some(Value::Object(several)) if several.keys().eq(["anyOf"]) => {
                    if let Some(Value::Array(options)) = several.get_mut("anyOf") {
                        options.push(schema);
                    }
                }
                Some(one) => *one = json!({ "anyOf": [one.take(), schema] }),
            }
        }
    }
    object(properties)
}

fn matrix() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": NAME },
        "properties": {
            "include": {
                "description": "further combinations, each with a value for every variable",
                "type": "array",
                "items": { "type": "object" },
            },
            "exclude": {
                "description": "combinations that are left out: those that agree with all keys of one of these",
                "type": "array",
                "items": { "type": "object" },
            },
        },
        "additionalProperties": {
            "description": "values of a variable, used as \"{{ matrix.NAME }}\" in deployments and workloads",
            "type": "array",
            "minItems": 1,
            "uniqueItems": true,
        },
    })
}

fn plots(catalog: &Catalog) -> Value {
    let mut schema = json!({
        "type": "object",
        "propertyNames": { "pattern": NAME },
        "additionalProperties": table(PLOT.iter(), Expressions::Refused),
    });
    let mut properties = Map::new();
    for key in PLOTS {
        let mut property = property(key, Expressions::Refused);
        if key.name == "set" {
            // `oneOf` of constants and not `enum`: so each id has its description.
            let ids: Vec<_> =
                catalog.plots.iter().map(|row| json!({ "const": row.id, "description": row.about })).collect();
            property["items"] = json!({ "oneOf": ids });
        }
        properties.insert(key.name.to_owned(), property);
    }
    schema["properties"] = Value::Object(properties);
    schema
}

fn objectives() -> Value {
    let mut properties = Map::new();
    for row in METRICS.iter().filter(|row| row.better != Better::Neutral) {
        let bound = json!({ "type": "number", "minimum": 0 });
        let statistics: &[&str] = match row.formula {
            Formula::PerRequest(_) | Formula::Pooled(_) => STATISTICS,
            Formula::PerPoint(_) => &[VALUE],
        };
        let table = object(statistics.iter().map(|name| ((*name).to_owned(), bound.clone())).collect());
        let mut schema = match row.formula {
            Formula::PerRequest(_) | Formula::Pooled(_) => table,
            Formula::PerPoint(_) => json!({ "anyOf": [bound, table] }),
        };
        let side = if row.better == Better::Lower { "at most" } else { "at least" };
        schema["description"] = json!(format!("{} {side} this, {}: {}", row.title, row.unit, row.definition));
        properties.insert(row.id.to_owned(), schema);
    }
    object(properties)
}

fn shape(shape: &Shape, expressions: Expressions) -> Value {
    let plain = plain(shape, expressions);
    // Texts take an expression as they are; everything else needs the way out.
    let takes_text = match shape {
        Shape::Text | Shape::Path | Shape::Any | Shape::Table(_) | Shape::Named(_) | Shape::Map(_) => true,
        Shape::Bool
        | Shape::Integer { .. }
        | Shape::Number { .. }
        | Shape::Choice(_)
        | Shape::Duration
        | Shape::Name
        | Shape::Metric
        | Shape::List { .. }
        | Shape::OneOf(_) => false,
    };
    if expressions == Expressions::Refused || takes_text {
        return plain;
    }
    json!({ "anyOf": [plain, { "type": "string", "pattern": EXPRESSION }] })
}

fn plain(of: &Shape, expressions: Expressions) -> Value {
    match of {
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
        Shape::Text | Shape::Path => json!({ "type": "string", "minLength": 1 }),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::Duration => json!({ "type": "string", "pattern": DURATION }),
        Shape::Name => json!({ "type": "string", "pattern": NAME }),
        Shape::Metric => {
            let ids: Vec<_> = METRICS.iter().map(|row| row.id).collect();
            let hook = json!({ "type": "string", "pattern": "^hook\\..+" });
            let short: Vec<_> = METRICS.iter().map(|row| row.short).collect();
            json!({ "anyOf": [{ "enum": ids }, { "enum": short }, hook] })
        }
        Shape::List { of, min, unique } => json!({
            "type": "array", "items": shape(of, expressions), "minItems": min, "uniqueItems": unique
        }),
        Shape::Table(keys) => table(keys.iter(), expressions),
        Shape::Named(keys) => named(table(keys.iter(), expressions)),
        Shape::Map(of) => json!({ "type": "object", "additionalProperties": shape(of, expressions) }),
        Shape::Any => json!({}),
        Shape::OneOf(shapes) => json!({ "anyOf": shapes.iter().map(|of| plain(of, expressions)).collect::<Vec<_>>() }),
    }
}
