//! The same rows as CEL, for a policy that the API server itself runs: it refuses while nobody answers the webhook. What only
//! the JSON as it was sent can show, such as an unknown field, is not in it: the API server has dropped that by then.

use super::rows::{Allowed, At, Demand, Row, Spares};

/// A condition that must hold, and what to say where it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub expression: String,
    pub message: String,
}

/// The containers that a request is about: all of a pod that is created, the ephemeral ones that one gets. Those that it had
/// before can't be changed, nor taken away.
pub const CONTAINERS: &str = "request.operation == 'CREATE' ? (object.spec.containers + \
     object.spec.?initContainers.orValue([]) + object.spec.?ephemeralContainers.orValue([])) : \
     object.spec.?ephemeralContainers.orValue([]).filter(c, \
     !oldObject.spec.?ephemeralContainers.orValue([]).exists(o, o.name == c.name))";

/// A row as one condition; `None` where there is nothing in it that CEL can see.
pub fn condition(row: &Row, standard: &str) -> Option<Condition> {
    let all: Vec<String> = row.demands.iter().filter_map(demand).collect();
    if all.is_empty() {
        return None;
    }
    let all = all.iter().map(|it| format!("({it})")).collect::<Vec<_>>().join(" && ");
    let expression = match row.spares {
        Spares::Nobody => all,
        Spares::Windows => format!("object.spec.?os.?name.orValue('') == 'windows' || ({all})"),
        Spares::UserNamespaces => format!("!object.spec.?hostUsers.orValue(true) || ({all})"),
    };
    let musts: Vec<_> = row
        .demands
        .iter()
        .map(|it| format!("{}{} must {}", place(it.at), it.path, it.allowed.must()))
        .collect();
    let message = format!("{}: {} ({standard})", row.id, musts.join("; "));
    Some(Condition { expression, message })
}

const fn place(at: At) -> &'static str {
    match at {
        At::Pod => "spec.",
        At::Containers => "of every container, ",
        At::Both | At::Inherited => "of the pod and every container, ",
        At::Annotations | At::Annotation | At::ContainerAnnotations => "annotation ",
    }
}

fn demand(it: &Demand) -> Option<String> {
    // What an update leaves alone never fails it: of a pod that is there, only ephemeral containers change.
    let created = |text: String| format!("request.operation != 'CREATE' || {text}");
    let pod = below("object.spec", it.path, it.allowed, it.at == At::Pod)?;
    let each = format!(
        "variables.containers.all(c, {})",
        below("c", it.path, it.allowed, it.at != At::Both)?
    );
    Some(match it.at {
        At::Pod => created(format!("({pod})")),
        At::Containers => each,
        At::Both => format!("({}) && {each}", created(format!("({pod})"))),
        At::Inherited => {
            let of = |root: &str| optional(root, it.path);
            let pod = below("object.spec", it.path, it.allowed, false)?;
            let own = below("c", it.path, it.allowed, false)?;
            let (in_pod, in_own) = (of("object.spec"), of("c"));
            format!(
                "({}) && variables.containers.all(c, {in_own}.hasValue() ? ({own}) : {in_pod}.hasValue())",
                created(format!("({pod})"))
            )
        }
        At::Annotations | At::Annotation => created(format!("({})", annotations(it)?)),
        At::ContainerAnnotations => annotations(it)?,
    })
}

fn annotations(it: &Demand) -> Option<String> {
    let all = "object.metadata.?annotations.orValue({})";
    let right = |value: &str| value_is(it.allowed, value);
    let value = format!("{all}[k]");
    let meant = match it.at {
        At::Annotations => format!("k.startsWith({})", quoted(it.path)),
        At::Annotation => format!("k == {}", quoted(it.path)),
        _ => format!("variables.containers.exists(c, k == {} + c.name)", quoted(it.path)),
    };
    Some(format!("{all}.all(k, !({meant}) || ({}))", right(&value)?))
}

/// What is below a root is right; the list in a path is gone through entry by entry.
fn below(root: &str, path: &str, allowed: Allowed, wants: bool) -> Option<String> {
    if let Some((list, rest)) = path.split_once("[*]") {
        let entry = if root.starts_with('e') { format!("e{root}") } else { "e".to_owned() };
        let inner = match rest.strip_prefix('.') {
            Some(rest) => below(&entry, rest, allowed, wants)?,
            None => value_is(allowed, &entry)?,
        };
        return Some(format!("{}.orValue([]).all({entry}, {inner})", optional(root, list)));
    }
    let value = optional(root, path);
    let right = value_is(allowed, &format!("{value}.value()"))?;
    let unset = if wants && allowed.wants_a_value() { "false" } else { "true" };
    Some(format!("{value}.hasValue() ? ({right}) : {unset}"))
}

/// A path below something, as an optional value: nothing on the way need be there.
fn optional(root: &str, path: &str) -> String {
    path.split('.').fold(root.to_owned(), |so_far, key| format!("{so_far}.?{key}"))
}

fn value_is(allowed: Allowed, value: &str) -> Option<String> {
    let list = |all: &[&str]| {
        format!("[{}]", all.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(", "))
    };
    Some(match allowed {
        Allowed::NotTrue | Allowed::False => format!("!{value}"),
        Allowed::True => value.to_owned(),
        Allowed::Empty => format!("{value} == ''"),
        Allowed::Zero => format!("{value} == 0"),
        Allowed::NotZero => format!("{value} != 0"),
        Allowed::Unset => "false".into(),
        Allowed::OneOf(all) => format!("{value} in {}", list(all)),
        Allowed::Profile(all) => format!("{value}.?type.orValue('') in {}", list(all)),
        Allowed::Named(all) => format!("{value}.?name.orValue('') in {}", list(all)),
        Allowed::Subset(all) => format!("{value}.all(x, x in {})", list(all)),
        Allowed::Contains(one) => format!("{} in {value}", quoted(one)),
        Allowed::Sources(all) => {
            all.iter().map(|it| format!("has({value}.{it})")).collect::<Vec<_>>().join(" || ")
        }
        Allowed::Annotated(all) => {
            format!("{value} in {} || {value}.startsWith('localhost/')", list(all))
        }
        Allowed::NotBegun(head) => format!("!{value}.startsWith({})", quoted(head)),
        Allowed::OfWorkers => format!(
            "!({value}.?key.orValue('') in {})",
            list(&[&[""], super::rows::CONTROL_PLANE.as_slice()].concat())
        ),
        Allowed::Keys(_) => return None,
    })
}

/// A text of ours as CEL has it: none holds a quote.
pub fn quoted(text: &str) -> String {
    format!("'{text}'")
}
