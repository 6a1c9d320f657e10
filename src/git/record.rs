//! Writes one small file as a commit on a branch of a repository on this machine. The branch is
//! ours alone; nothing else of the repository is touched, and there is no work tree.

use std::path::Path;

use gix::{bstr::ByteSlice as _, objs::tree::EntryKind};

/// Why nothing was committed, in a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unrecorded(String);

/// A file's content at a commit.
#[derive(Debug, Clone)]
pub struct Record {
    pub file: &'static str,
    pub content: String,
    pub message: String,
    /// Seconds since 1970, UTC.
    pub at: i64,
}

/// Makes a commit of each, in their order, on the branch's end. A branch that is not there is made.
pub fn record(repository: &Path, branch: &str, records: &[Record]) -> Result<(), Unrecorded> {
    let say = |what: &str, error: &dyn std::fmt::Display| {
        Unrecorded(format!("{}: {what}: {error}", repository.display()))
    };
    let options = gix::open::Options::isolated();
    let opened = gix::open_opts(repository, options)
        .map_err(|error| say("is not a repository on this machine", &error))?;
    let name = format!("refs/heads/{branch}");
    for record in records {
        let Record {
            file,
            content,
            message,
            at,
        } = record;
        let head = opened
            .try_find_reference(name.as_str())
            .map_err(|error| say("its branch cannot be read", &error))?
            .map(|mut head| head.peel_to_commit())
            .transpose()
            .map_err(|error| say("its branch cannot be read", &error))?;
        let tree = match &head {
            Some(head) => head
                .tree()
                .map_err(|error| say("its branch cannot be read", &error))?,
            None => opened.empty_tree(),
        };
        let blob = opened
            .write_blob(content)
            .map_err(|error| say("cannot be written", &error))?;
        let mut editor = tree
            .edit()
            .map_err(|error| say("cannot be written", &error))?;
        editor
            .upsert(*file, EntryKind::Blob, blob)
            .map_err(|error| say("cannot be written", &error))?;
        let tree = editor
            .write()
            .map_err(|error| say("cannot be written", &error))?;
        let time = format!("{at} +0000");
        let signature = gix::actor::SignatureRef {
            name: b"lockstep".as_bstr(),
            email: b"lockstep@localhost".as_bstr(),
            time: &time,
        };
        let parents = head.iter().map(|head| head.id);
        opened
            .commit_as(signature, signature, name.as_str(), message, tree, parents)
            .map_err(|error| say("cannot be committed to", &error))?;
    }
    Ok(())
}
