//! Makes one small file a commit on the end of a branch. The branch is ours alone; nothing else of
//! the repository is touched, and there is no work tree.
//!
//! A branch that holds one of the records holds those before it, so that what was kept and not
//! heard of is not kept twice.

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::objs::Kind;
use gix::objs::tree::EntryKind;
use gix::odb::memory::Storage;
use gix::refs::transaction::{PreviousValue, RefEdit};

use super::BranchName;
use super::error::{Error, Fault, one_line};
use super::http::Watch;
use super::snapshot::doubt;

/// The file's content at a commit.
#[derive(Debug, Clone)]
pub struct Record {
    pub content: String,
    pub message: String,
    /// Seconds since 1970, UTC.
    pub at: i64,
}

/// What is committed, in its order.
#[derive(Debug, Clone)]
pub struct Records {
    /// In the root of the repository.
    pub file: &'static str,
    pub each: Vec<Record>,
}

/// Commits that are in no repository yet.
pub(super) struct Commits {
    pub(super) tip: ObjectId,
    pub(super) objects: Storage,
}

/// Puts them on the branch of a repository on this machine, all of them or none. A branch that is
/// not there is made.
pub(super) fn on_branch(
    repository: &gix::Repository,
    branch: &BranchName,
    records: &Records,
    watch: &Watch,
) -> Result<(), Fault> {
    let name = branch.full_ref();
    let head = repository
        .try_find_reference(name.as_str())
        .map_err(doubt)?
        .map(gix::Reference::into_fully_peeled_id)
        .transpose()
        .map_err(doubt)?
        .map(gix::Id::detach);
    let Some(Tip { id, at }) = commit(repository, head, records, watch)? else {
        return Ok(());
    };
    let expected = head.map_or(PreviousValue::MustNotExist, |head| {
        PreviousValue::MustExistAndMatch(head.into())
    });
    let name = name.try_into().map_err(|error| failed(watch, &error))?;
    let edit = RefEdit::update(name, id, expected, "checkpoint").with_deref(true);
    repository
        .edit_references_as(Some(edit), Some(signature(&seconds(at))))
        .map_err(|error| failed(watch, &error))?;
    Ok(())
}

/// Makes them on top of a commit of the repository without writing to it. `None`: all of them are
/// there already.
pub(super) fn in_memory(
    repository: &gix::Repository,
    head: Option<ObjectId>,
    records: &Records,
    watch: &Watch,
) -> Result<Option<Commits>, Fault> {
    let mut repository = repository.clone().with_object_memory();
    let tip = commit(&repository, head, records, watch)?;
    let objects = repository.objects.take_object_memory().unwrap_or_default();
    Ok(tip.map(|Tip { id, .. }| Commits { tip: id, objects }))
}

struct Tip {
    id: ObjectId,
    at: i64,
}

/// `None`: there is nothing new to commit.
fn commit(
    repository: &gix::Repository,
    head: Option<ObjectId>,
    records: &Records,
    watch: &Watch,
) -> Result<Option<Tip>, Fault> {
    let failed = |error: gix::Error| failed(watch, &error);
    let tree = match head {
        Some(head) => {
            let head = repository.find_commit(head).map_err(doubt)?;
            head.tree().map_err(doubt)?
        }
        None => repository.empty_tree(),
    };
    let Records { file, each } = records;
    let held = tree.find_entry(*file).map(|entry| entry.object_id());
    let mut known = 0;
    for (index, record) in each.iter().enumerate() {
        let content = record.content.as_bytes();
        let id = gix::objs::compute_hash(repository.object_hash(), Kind::Blob, content);
        if Some(id.map_err(failed)?) == held {
            known = index + 1;
        }
    }
    let mut editor = tree.edit().map_err(doubt)?;
    let mut tip = None;
    for record in &each[known..] {
        watch.check()?;
        let Record {
            content,
            message,
            at,
        } = record;
        let blob = repository.write_blob(content).map_err(failed)?;
        editor
            .upsert(*file, EntryKind::Blob, blob)
            .map_err(failed)?;
        let tree = editor.write().map_err(failed)?;
        let time = seconds(*at);
        let signature = signature(&time);
        let parent = tip.as_ref().map(|tip: &Tip| tip.id).or(head);
        let commit = repository
            .new_commit_as(signature, signature, message, tree, parent)
            .map_err(failed)?;
        tip = Some(Tip {
            id: commit.id,
            at: *at,
        });
    }
    Ok(tip)
}

fn seconds(at: i64) -> String {
    format!("{at} +0000")
}

fn signature(time: &str) -> gix::actor::SignatureRef<'_> {
    gix::actor::SignatureRef {
        name: b"lockstep".as_bstr(),
        email: b"lockstep@localhost".as_bstr(),
        time,
    }
}

fn failed(watch: &Watch, error: &(dyn std::error::Error + 'static)) -> Fault {
    Fault::Final(Error::NotCommitted {
        repository: watch.repository(),
        detail: one_line(error),
    })
}
