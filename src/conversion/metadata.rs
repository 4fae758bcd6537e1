//! The metadata of an object that is converted: its annotations, and whether it is being deleted.

use super::{
    convert::{Refusal, shown},
    json::{self, Flaw, Members, Node},
};

/// Its annotations, if it has any.
pub fn annotations<'o, 'a>(
    object: &'o mut Members<'a>,
) -> Result<Option<&'o mut Members<'a>>, Flaw> {
    let Some(metadata) = object.find_mut("metadata") else { return Ok(None) };
    let Some(metadata) = metadata.value.open()? else { return Ok(None) };
    match metadata.find_mut("annotations") {
        Some(it) => it.value.open(),
        None => Ok(None),
    }
}

/// Whether the object is being deleted. Nobody asks a webhook about what is: whoever keeps it by a finalizer may fill its
/// annotations to the brim. It then loses what the other version cannot say, and keeps nobody from reading all others.
pub fn is_going(object: &mut Members<'_>) -> Result<bool, Flaw> {
    let Some(metadata) = object.find_mut("metadata") else { return Ok(false) };
    let Some(metadata) = metadata.value.open()? else { return Ok(false) };
    let set = metadata.find("deletionTimestamp");
    Ok(set.is_some_and(|it| !matches!(&it.value, Node::Text(text) if text == "null")))
}

/// Bytes as the API server counts them, which counts no quotes and no escapes.
pub fn size_without(annotations: &Members<'_>, names: &[&str]) -> usize {
    let others = annotations.iter().filter(|it| !names.contains(&&*it.name));
    others
        .map(|it| match &it.value {
            Node::Text(text) => {
                it.name.len() + json::string(text).map_or(text.len(), |it| it.len())
            }
            Node::Object(_) => it.name.len(),
        })
        .sum()
}

/// Sets or removes these two annotations.
pub fn write(
    object: &mut Members<'_>,
    from: &str,
    ours: [(&'static str, Option<String>); 2],
) -> Result<(), Refusal> {
    let needed = ours.iter().any(|(_, value)| value.is_some());
    if needed && object.find("metadata").is_none() {
        object.set("metadata", Node::Object(Members::default()));
    }
    let Some(metadata) = object.find_mut("metadata") else { return Ok(()) };
    let Some(metadata) = metadata.value.open()? else {
        return if needed { Err(Refusal::NoPlace("metadata", shown(from))) } else { Ok(()) };
    };
    let absent = metadata
        .find("annotations")
        .is_none_or(|it| matches!(&it.value, Node::Text(text) if text == "null"));
    if needed && absent {
        metadata.set("annotations", Node::Object(Members::default()));
    }
    let Some(member) = metadata.find_mut("annotations") else { return Ok(()) };
    let Some(all) = member.value.open()? else {
        return if needed { Err(Refusal::NoPlace("annotations", shown(from))) } else { Ok(()) };
    };
    for (name, value) in ours {
        match value {
            Some(value) => {
                let mut text = String::new();
                json::quote(&value, &mut text);
                all.set(name, Node::owned(text));
            }
            None => all.remove(name),
        }
    }
    if all.is_empty() {
        metadata.remove("annotations");
    }
    Ok(())
}
