//! Sends new commits to a branch on a Git host. gix reads from hosts and does not push, so this
//! file says what a push says, over the same wire.
//!
//! A push names where the branch is and where it is to be. The host compares, and refuses when the
//! branch is elsewhere by now; nothing here can overrule it. Only what the host reports as done
//! counts as done.

use std::io::{self, Write as _};
use std::sync::Arc;

use gix::ObjectId;
use gix::hash::Kind;
use gix::odb::memory::Storage;
use gix::odb::pack::data::{Version, entry, header};
use gix::progress::Discard;
use gix::protocol::Handshake;
use gix::protocol::handshake::Ref;
use gix::protocol::transport::client::blocking_io::http::Transport;
use gix::protocol::transport::client::blocking_io::{ExtendedBufRead, Transport as _};
use gix::protocol::transport::client::capabilities::Capability;
use gix::protocol::transport::client::{MessageKind, WriteMode};
use gix::protocol::transport::packetline::blocking_io::encode;
use gix::protocol::transport::packetline::decode::{self, Stream};
use gix::protocol::transport::packetline::{BandRef, PacketLineRef};
use gix::protocol::transport::{Protocol, Service};
use gix::zlib::{Compression, stream::deflate::Write as Deflated};
use reqwest::blocking::Client;

use super::BranchName;
use super::error::{Error, Fault, one_line};
use super::http::{self, Watch, Wire};
use super::record::Commits;

/// More lines than a host has to say about one branch.
const MAX_LINES: usize = 10_000;

/// A host that has said where the branch is, and waits.
pub(super) struct Push {
    transport: Transport<Wire>,
    watch: Arc<Watch>,
    full_ref: String,
    head: Option<ObjectId>,
    /// What we ask of the host, of what it offers.
    capabilities: String,
    /// Whether the report comes in one band of several, with the host's remarks in another.
    is_banded: bool,
}

impl Push {
    pub(super) fn begin(
        client: Client,
        url: gix::Url,
        branch: &BranchName,
        watch: Arc<Watch>,
    ) -> Result<Self, Fault> {
        // There is no push in version 2 of the protocol, and some hosts mind being offered it.
        let mut transport = http::transport(client, Arc::clone(&watch), url, Protocol::V1);
        let handshake = gix::protocol::handshake(
            &mut transport,
            Service::ReceivePack,
            |_| Ok(None),
            Vec::new(),
            &mut Discard,
        )
        .map_err(|error| unwritable(watch.explain(&error)))?;
        refuse_other_ids(&handshake, &watch)?;
        let offers = |capability| handshake.capabilities.contains(capability);
        if !offers("report-status") {
            return Err(Fault::Final(Error::Protocol {
                repository: watch.repository(),
                detail: "it does not offer to report what becomes of a push".to_owned(),
            }));
        }
        let mut capabilities = "report-status agent=git/lockstep".to_owned();
        for wanted in ["side-band-64k", "quiet"] {
            if offers(wanted) {
                capabilities.push(' ');
                capabilities.push_str(wanted);
            }
        }
        let is_banded = offers("side-band-64k");
        let full_ref = branch.full_ref();
        Ok(Self {
            transport,
            watch,
            head: target_of(&full_ref, handshake.refs.unwrap_or_default()),
            full_ref,
            capabilities,
            is_banded,
        })
    }

    /// Where the branch is. `None`: there is no such branch.
    pub(super) fn head(&self) -> Option<ObjectId> {
        self.head
    }

    /// The inner error is the host's refusal.
    pub(super) fn send(mut self, commits: &Commits) -> Result<Result<(), Error>, Fault> {
        let watch = Arc::clone(&self.watch);
        let explain = |error: io::Error| watch.explain(&error);
        let old = self.head.unwrap_or(Kind::Sha1.null());
        let command = format!(
            "{old} {} {}\0 {}",
            commits.tip, self.full_ref, self.capabilities
        );
        let mut body = Vec::new();
        encode::data_to_write(command.as_bytes(), &mut body).map_err(explain)?;
        encode::flush_to_write(&mut body).map_err(explain)?;
        pack(&commits.objects, &mut body).map_err(|error| {
            Fault::Final(Error::Internal {
                repository: watch.repository(),
                detail: one_line(&error),
            })
        })?;
        let request = self
            .transport
            .request(WriteMode::Binary, MessageKind::Flush, false)
            .map_err(|error| watch.explain(&error))?;
        let (mut writer, mut reader) = request.into_parts();
        writer.write_all(&body).map_err(explain)?;
        drop(writer);
        let lines = read(&mut *reader, &watch).map_err(unwritable)?;
        let report = if self.is_banded {
            Report::of_bands(&lines)
        } else {
            Report::of_lines(lines.iter().map(Vec::as_slice))
        };
        Ok(report
            .verdict(&self.full_ref)
            .map_err(|why| Error::NotTaken {
                repository: watch.repository(),
                detail: watch.words(&why),
            }))
    }
}

/// gix is built with SHA-1 only.
pub(super) fn refuse_other_ids(handshake: &Handshake, watch: &Watch) -> Result<(), Fault> {
    let format = handshake.capabilities.capability("object-format");
    let is_another = |format: Capability<'_>| format.value().is_some_and(|value| value != "sha1");
    if format.is_some_and(is_another) {
        return Err(Fault::Final(Error::ObjectFormat {
            repository: watch.repository(),
        }));
    }
    Ok(())
}

/// What a host's ref points to.
pub(super) fn target_of(full_ref: &str, refs: Vec<Ref>) -> Option<ObjectId> {
    refs.into_iter().find_map(|found| match found {
        Ref::Direct {
            full_ref_name,
            object,
        }
        | Ref::Symbolic {
            full_ref_name,
            object,
            ..
        }
        | Ref::Peeled {
            full_ref_name,
            object,
            ..
        } => (full_ref_name == full_ref.as_bytes()).then_some(object),
        Ref::Unborn { .. } => None,
    })
}

/// A host that refuses here may well let us read.
fn unwritable(fault: Fault) -> Fault {
    match fault {
        Fault::Final(Error::Refused {
            repository,
            status,
            has_token,
        }) => Fault::Final(Error::Unwritable {
            repository,
            status,
            has_token,
        }),
        other => other,
    }
}

/// A pack of whole objects: a header, each object, and the hash of all that.
fn pack(objects: &Storage, to: &mut Vec<u8>) -> io::Result<()> {
    let count = u32::try_from(objects.len()).map_err(io::Error::other)?;
    let mut pack = gix::hash::io::Write::new(to, Kind::Sha1);
    pack.write_all(&header::encode(Version::V2, count))?;
    for (kind, data) in objects.values() {
        let kind = match kind {
            gix::objs::Kind::Commit => entry::Header::Commit,
            gix::objs::Kind::Tree => entry::Header::Tree,
            gix::objs::Kind::Blob => entry::Header::Blob,
            gix::objs::Kind::Tag => entry::Header::Tag,
        };
        kind.write_to(data.len() as u64, &mut pack)?;
        let mut deflated = Deflated::new(&mut pack, Compression::DEFAULT);
        deflated.write_all(data)?;
        deflated.flush()?;
    }
    let hash = pack.hash.try_finalize().map_err(io::Error::other)?;
    pack.inner.write_all(hash.as_slice())
}

fn read(reader: &mut dyn ExtendedBufRead<'_>, watch: &Watch) -> Result<Vec<Vec<u8>>, Fault> {
    let broken = |detail: &str| {
        Fault::Final(Error::Protocol {
            repository: watch.repository(),
            detail: detail.to_owned(),
        })
    };
    let mut lines = Vec::new();
    while let Some(line) = reader.readline() {
        let line = line.map_err(|error| watch.explain(&error))?;
        let line = line.map_err(|error| watch.explain(&error))?;
        let Some(line) = line.as_slice() else {
            return Err(broken("what became of the push is not told in lines"));
        };
        if lines.len() == MAX_LINES {
            return Err(broken("what became of the push is told without an end"));
        }
        lines.push(line.to_vec());
    }
    if reader.stopped_at() == Some(MessageKind::Flush) {
        Ok(lines)
    } else {
        Err(broken("what became of the push is not told to its end"))
    }
}

/// What a host says became of a push, in its words.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
    /// What it has to say beside.
    remarks: String,
}

impl Report {
    fn of_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let text = |line| String::from_utf8_lossy(line).trim_end().to_owned();
        Self {
            lines: lines.map(text).collect(),
            remarks: String::new(),
        }
    }

    /// The report is lines once more, cut wherever the band had to be. One that breaks off says
    /// nothing.
    fn of_bands(lines: &[Vec<u8>]) -> Self {
        let (mut report, mut remarks) = (Vec::new(), Vec::new());
        for line in lines {
            match PacketLineRef::Data(line).decode_band() {
                Ok(BandRef::Data(data)) => report.extend_from_slice(data),
                Ok(BandRef::Progress(text) | BandRef::Error(text)) => {
                    remarks.extend_from_slice(text);
                }
                // A band that there is not.
                Err(_) => {}
            }
        }
        let (mut told, mut rest) = (Vec::new(), report.as_slice());
        let is_whole = loop {
            match decode::streaming(rest) {
                Ok(Stream::Complete {
                    line: PacketLineRef::Data(line),
                    bytes_consumed,
                }) => {
                    told.push(line);
                    rest = &rest[bytes_consumed..];
                }
                Ok(Stream::Complete {
                    line: PacketLineRef::Flush,
                    ..
                }) => break true,
                _ => break false,
            }
        };
        Self {
            remarks: String::from_utf8_lossy(&remarks).into_owned(),
            ..Self::of_lines(told.into_iter().filter(|_| is_whole))
        }
    }

    /// The objects were unpacked and the ref was moved; anything else is a refusal, with its reason.
    fn verdict(&self, full_ref: &str) -> Result<(), String> {
        let after = |word: &str| {
            let found = |line: &String| Some(line.strip_prefix(word)?.to_owned());
            self.lines.iter().find_map(found)
        };
        let reason = match after("unpack ") {
            Some(unpacked) if unpacked != "ok" => unpacked,
            unpacked => match after(&format!("ng {full_ref} ")) {
                Some(reason) => reason,
                None if unpacked.is_some() && after("ok ").as_deref() == Some(full_ref) => {
                    return Ok(());
                }
                None => "it does not say what became of it".to_owned(),
            },
        };
        Err(if self.remarks.trim().is_empty() {
            reason
        } else {
            format!("{reason}; it says: {}", self.remarks)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BRANCH: &str = "refs/heads/checkpoints";

    fn banded(band: u8, data: &[u8]) -> Vec<u8> {
        [&[band], data].concat()
    }

    fn verdict_of(lines: &[&str]) -> Result<(), String> {
        Report::of_lines(lines.iter().map(|line| line.as_bytes())).verdict(BRANCH)
    }

    #[test]
    fn only_unpacked_and_moved_is_done() {
        assert_eq!(
            verdict_of(&["unpack ok\n", "ok refs/heads/checkpoints\n"]),
            Ok(())
        );
        for (lines, why) in [
            (&[][..], "it does not say"),
            (&["unpack ok\n"], "it does not say"),
            (&["ok refs/heads/checkpoints\n"], "it does not say"),
            (&["unpack ok\n", "ok refs/heads/other\n"], "it does not say"),
            (
                &["unpack ok\n", "ok refs/heads/checkpoints2\n"],
                "it does not say",
            ),
            (
                &[
                    "unpack index-pack abnormal exit\n",
                    "ok refs/heads/checkpoints\n",
                ],
                "index-pack abnormal exit",
            ),
            (
                &["unpack ok\n", "ng refs/heads/checkpoints hook declined\n"],
                "hook declined",
            ),
            (
                &[
                    "unpack ok\n",
                    "ok refs/heads/checkpoints\n",
                    "ng refs/heads/checkpoints on second thoughts\n",
                ],
                "on second thoughts",
            ),
        ] {
            let told = verdict_of(lines).unwrap_err();
            assert!(told.starts_with(why), "{lines:?}: {told}");
        }
    }

    #[test]
    fn a_report_in_bands_is_put_together_and_what_is_said_beside_is_kept() {
        let lines = [
            banded(2, b"remote: not on "),
            banded(1, b"000eunpack ok\n0038ng refs/heads/check"),
            banded(2, b"a Sunday\n"),
            banded(1, b"points pre-receive hook declined\n0000"),
        ];
        let told = Report::of_bands(&lines).verdict(BRANCH).unwrap_err();
        assert_eq!(
            told,
            "pre-receive hook declined; it says: remote: not on a Sunday\n"
        );
    }

    #[test]
    fn a_report_in_a_band_is_taken_whole_or_not_at_all() {
        let whole = b"000eunpack ok\n001eok refs/heads/checkpoints\n0000";
        for cut in 0..=whole.len() {
            let lines = [banded(1, &whole[..cut])];
            let told = Report::of_bands(&lines).verdict(BRANCH);
            assert_eq!(told.is_ok(), cut == whole.len(), "{cut}: {told:?}");
        }
    }

    proptest! {
        #[test]
        fn no_report_is_a_panic(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..12)
        ) {
            let _ = Report::of_bands(&lines).verdict(BRANCH);
            let _ = Report::of_lines(lines.iter().map(Vec::as_slice)).verdict(BRANCH);
        }

        #[test]
        fn a_report_is_done_only_if_it_says_so(
            report in "(000eunpack ok\n|001eok refs/heads/checkpoints\n|0000|[0-9a-f]{4}| ?[a-z/]{1,9}\n?){0,5}",
            cut in 0_usize..80,
        ) {
            let cut = cut.min(report.len());
            let (first, second) = report.as_bytes().split_at(cut);
            let lines = [banded(1, first), banded(1, second)];
            if Report::of_bands(&lines).verdict(BRANCH).is_ok() {
                prop_assert!(report.contains("unpack ok") && report.contains("ok refs/heads/checkpoints"));
            }
        }
    }
}
