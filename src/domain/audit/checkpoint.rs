//! Checkpoints: the size and the root of the history's tree, signed. Written as C2SP has them
//! (`tlog-checkpoint` in a `signed-note`, Ed25519), so that others' tools read them.
//!
//! A log has one name, its origin, and the key's name is the origin. Two extension lines say what
//! the tree cannot: `number N` counts the checkpoints of this history from 0, so that one that was
//! taken out is missed, and `time T` says when it was signed, so that a history in which nothing
//! happens still says so.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use crate::domain::canonical::Digest;

/// A note is not longer, whoever wrote it. Room for the 16 signatures that every reader must take,
/// the large ones of times to come among them.
const LONGEST_NOTE: usize = 128 * 1024;
const MOST_SIGNATURES: usize = 64;
/// Of a key: what DNS and a path take.
const LONGEST_NAME: usize = 255;
/// Marks an Ed25519 key, and its signatures.
const ED25519_TYPE: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";

/// The first four bytes of a hash over the key and its name: tells apart, proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    fn of(name: &str, public: &[u8; 32]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(name.as_bytes());
        hasher.update([b'\n', ED25519_TYPE]);
        hasher.update(public);
        let hash: [u8; 32] = hasher.finalize().into();
        Self([hash[0], hash[1], hash[2], hash[3]])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What checks signatures: `name+id+base64`, the text that an auditor is given once and keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    public: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a name of a log is 1 to {LONGEST_NAME} letters without white space or \"+\"")]
    Name,
    #[error("a verifier key looks like name+1a2b3c4d+base64")]
    VerifierKey,
    #[error("a signing key looks like {PRIVATE}name+1a2b3c4d+base64")]
    SigningKey,
    #[error("the key is not an Ed25519 key")]
    Kind,
    #[error("the key's id does not belong to the key and its name: a letter of it was changed")]
    Id,
}

impl VerifierKey {
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        check_name(name)?;
        Ok(Self {
            id: KeyId::of(name, &public),
            name: name.to_owned(),
            public,
        })
    }

    /// The log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> KeyId {
        self.id
    }

    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        ParsedPublicKey::new(&ED25519, self.public)
            .is_ok_and(|key| key.verify_sig(text.as_bytes(), signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64_STANDARD.encode([&[ED25519_TYPE], self.public.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, self.id)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, public) = parse_key(text, &KeyError::VerifierKey)?;
        let key = Self::new(name, public)?;
        if key.id == id {
            Ok(key)
        } else {
            Err(KeyError::Id)
        }
    }
}

/// What signs. Never printed but by [`SigningKey::secret_text`].
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: [u8; 32],
    verifier: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SigningKey({}+{}, …)",
            self.verifier.name, self.verifier.id
        )
    }
}

impl SigningKey {
    /// From 32 random bytes.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Kind)?;
        let public = pair.public_key().as_ref();
        let public = public.try_into().map_err(|_| KeyError::Kind)?;
        Ok(Self {
            pair,
            seed,
            verifier: VerifierKey::new(name, public)?,
        })
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// What [`SigningKey::from_str`] reads: the form that other tools for signed notes have.
    pub fn secret_text(&self) -> String {
        let VerifierKey { name, id, .. } = &self.verifier;
        let seed = BASE64_STANDARD.encode([&[ED25519_TYPE], self.seed.as_slice()].concat());
        format!("{PRIVATE}{name}+{id}+{seed}")
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.strip_prefix(PRIVATE).ok_or(KeyError::SigningKey)?;
        let (name, id, seed) = parse_key(text, &KeyError::SigningKey)?;
        let key = Self::from_seed(name, seed)?;
        if key.verifier.id == id {
            Ok(key)
        } else {
            Err(KeyError::Id)
        }
    }
}

fn parse_key<'text>(
    text: &'text str,
    malformed: &KeyError,
) -> Result<(&'text str, KeyId, [u8; 32]), KeyError> {
    // Base64 has "+" among its letters, a name and an id have not.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed.clone());
    };
    check_name(name)?;
    let mut id_bytes = [0; 4];
    hex::decode_to_slice(id, &mut id_bytes).map_err(|_| malformed.clone())?;
    if hex::encode(id_bytes) != id {
        return Err(malformed.clone());
    }
    let key = BASE64_STANDARD.decode(key).map_err(|_| malformed.clone())?;
    let [ED25519_TYPE, key @ ..] = key.as_slice() else {
        return Err(KeyError::Kind);
    };
    let key = key.try_into().map_err(|_| KeyError::Kind)?;
    Ok((name, KeyId(id_bytes), key))
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let is_fit = |letter: char| !letter.is_whitespace() && !letter.is_control() && letter != '+';
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_fit) {
        Ok(())
    } else {
        Err(KeyError::Name)
    }
}

/// A text and who signed it. A note says nothing before [`Note::signed_by`] has found a key that
/// one trusts among its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Ends with a line break.
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    id: KeyId,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("this is no signed note: {0}")]
    Malformed(&'static str),
    #[error(
        "the signature of {name}+{id} is not of this text: the text or the signature was changed"
    )]
    Forged { name: String, id: KeyId },
    #[error("no key that is trusted signed this; it is signed by {0}")]
    Stranger(String),
}

impl Note {
    /// The text must end with a line break.
    pub fn sign(text: String, keys: &[&SigningKey]) -> Self {
        let signatures = keys
            .iter()
            .map(|key| Signature {
                name: key.verifier.name.clone(),
                id: key.verifier.id,
                bytes: key.pair.sign(text.as_bytes()).as_ref().to_vec(),
            })
            .collect();
        Self { text, signatures }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which of the trusted keys signed it; at least one. Signatures of strangers are passed over;
    /// a wrong one in a trusted name is not.
    pub fn signed_by<'keys>(
        &self,
        trusted: &'keys [VerifierKey],
    ) -> Result<Vec<&'keys VerifierKey>, NoteError> {
        let mut found: Vec<&VerifierKey> = Vec::new();
        for Signature { name, id, bytes } in &self.signatures {
            let known = trusted
                .iter()
                .filter(|key| key.name == *name && key.id == *id);
            for key in known {
                if !key.verifies(&self.text, bytes) {
                    return Err(NoteError::Forged {
                        name: name.clone(),
                        id: *id,
                    });
                }
                if !found.contains(&key) {
                    found.push(key);
                }
            }
        }
        if found.is_empty() {
            return Err(NoteError::Stranger(self.signers().join(", ")));
        }
        Ok(found)
    }

    /// Whose signatures stand there, true or not.
    fn signers(&self) -> Vec<String> {
        self.signatures
            .iter()
            .map(|Signature { name, id, .. }| format!("{name}+{id}"))
            .collect()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Signature { name, id, bytes } in &self.signatures {
            let signature = BASE64_STANDARD.encode([&id.0, bytes.as_slice()].concat());
            writeln!(f, "\u{2014} {name} {signature}")?;
        }
        Ok(())
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        let malformed = |why| Err(NoteError::Malformed(why));
        if note.len() > LONGEST_NOTE {
            return malformed("it is too long");
        }
        if note.chars().any(|letter| letter < ' ' && letter != '\n') {
            return malformed("it has control characters");
        }
        let Some((text, block)) = note.rsplit_once("\n\n") else {
            return malformed("no empty line stands before its signatures");
        };
        let Some(block) = block.strip_suffix('\n') else {
            return malformed("its last line does not end");
        };
        if block.split('\n').count() > MOST_SIGNATURES {
            return malformed("it has too many signatures");
        }
        let signatures = block
            .split('\n')
            .map(parse_signature)
            .collect::<Option<Vec<_>>>();
        let Some(signatures) = signatures else {
            return malformed("a line below the empty one is no signature");
        };
        Ok(Self {
            text: format!("{text}\n"),
            signatures,
        })
    }
}

fn parse_signature(line: &str) -> Option<Signature> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    check_name(name).ok()?;
    let signature = BASE64_STANDARD.decode(signature).ok()?;
    let (id, bytes) = signature.split_first_chunk()?;
    (!bytes.is_empty()).then(|| Signature {
        name: name.to_owned(),
        id: KeyId(*id),
        bytes: bytes.to_vec(),
    })
}

/// The notes in a file that has one after the other. What is none between them, such as a line that
/// a crash left half written, is passed over.
pub fn notes(file: &str) -> impl Iterator<Item = Note> {
    let mut lines = file.lines().peekable();
    std::iter::from_fn(move || {
        loop {
            lines.peek()?;
            let mut note = String::new();
            while let Some(line) = lines.next_if(|line| !line.is_empty()) {
                note.push_str(line);
                note.push('\n');
            }
            note.push('\n');
            while lines.next_if(|line| line.is_empty()).is_some() {}
            while let Some(line) = lines.next_if(|line| line.starts_with("\u{2014} ")) {
                note.push_str(line);
                note.push('\n');
            }
            while lines.next_if(|line| line.is_empty()).is_some() {}
            if let Ok(note) = note.parse() {
                return Some(note);
            }
        }
    })
}

/// What a log says of itself: how many leaves, and their root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Digest,
    /// Lines that only their writer understands.
    pub extensions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("this is no checkpoint: {0}")]
    Malformed(&'static str),
    #[error("the checkpoint is of {0}, and none of the log's own keys signed it")]
    Origin(String),
}

impl Checkpoint {
    /// The one that Lockstep signs.
    pub fn of_history(origin: &str, number: u64, time: &str, size: u64, root: Digest) -> Self {
        Self {
            origin: origin.to_owned(),
            size,
            root,
            extensions: vec![format!("number {number}"), format!("time {time}")],
        }
    }

    /// Its place among the checkpoints of a history, if it is one of Lockstep's.
    pub fn number(&self) -> Option<u64> {
        self.extension("number ")?.parse().ok()
    }

    /// When it was signed, as its writer says.
    pub fn time(&self) -> Option<&str> {
        self.extension("time ")
    }

    fn extension(&self, prefix: &str) -> Option<&str> {
        self.extensions
            .iter()
            .find_map(|line| line.strip_prefix(prefix))
    }

    pub fn sign(&self, keys: &[&SigningKey]) -> Note {
        Note::sign(self.to_string(), keys)
    }

    /// Reads a signed checkpoint and answers it with the trusted keys that signed it. It must be
    /// the log's own word: a key of another name than the origin's is a witness at most.
    pub fn open<'keys>(
        note: &str,
        trusted: &'keys [VerifierKey],
    ) -> Result<(Self, Vec<&'keys VerifierKey>), CheckpointError> {
        let note: Note = note.parse()?;
        let keys = note.signed_by(trusted)?;
        let checkpoint: Self = note.text.parse()?;
        if keys.iter().any(|key| key.name == checkpoint.origin) {
            Ok((checkpoint, keys))
        } else {
            Err(CheckpointError::Origin(checkpoint.origin))
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = BASE64_STANDARD.encode(self.root.0);
        writeln!(f, "{}\n{}\n{root}", self.origin, self.size)?;
        for line in &self.extensions {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let malformed = |why| Err(CheckpointError::Malformed(why));
        let Some(text) = text.strip_suffix('\n') else {
            return malformed("its last line does not end");
        };
        let mut lines = text.split('\n');
        let (Some(origin), Some(size_text), Some(root)) =
            (lines.next(), lines.next(), lines.next())
        else {
            return malformed("it has an origin, a size and a root, each on a line");
        };
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if origin.is_empty() || extensions.iter().any(String::is_empty) {
            return malformed("a line of it is empty");
        }
        let size = size_text.parse().unwrap_or_default();
        // Digits alone: no sign, no leading zeros.
        if u64::to_string(&size) != size_text {
            return malformed("its size is not a number");
        }
        let root = BASE64_STANDARD.decode(root).unwrap_or_default();
        let Ok(root) = root.try_into() else {
            return malformed("its root is not 32 bytes in base64");
        };
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root: Digest(root),
            extensions,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The published example of the Go project, which made the format.
    const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_SIGNER: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const GO_TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                           then you don't know what your problem is.\n";
    const GO_SIGNATURE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZIn\
                                NIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    /// The published example of C2SP's text.
    const C2SP_CHECKPOINT: &str = "example.com/behind-the-sofa\n20852163\n\
                                   CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn key(name: &str, seed: u8) -> SigningKey {
        SigningKey::from_seed(name, [seed; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        let root = Digest::of(b"root");
        Checkpoint::of_history("log.example/a", 7, "2026-01-02T03:04:05Z", 12, root)
    }

    #[test]
    fn the_published_note_is_signed_and_verified_to_the_letter() {
        let signer: SigningKey = GO_SIGNER.parse().unwrap();
        let verifier: VerifierKey = GO_VERIFIER.parse().unwrap();
        assert_eq!(signer.verifier(), &verifier);
        assert_eq!(signer.secret_text(), GO_SIGNER);
        assert_eq!(verifier.to_string(), GO_VERIFIER);

        let published = format!("{GO_TEXT}\n{GO_SIGNATURE}");
        let made = Note::sign(GO_TEXT.to_owned(), &[&signer]);
        assert_eq!(made.to_string(), published);
        let read: Note = published.parse().unwrap();
        assert_eq!(read, made);
        let trusted = [verifier];
        assert_eq!(read.signed_by(&trusted).unwrap(), vec![&trusted[0]]);
    }

    #[test]
    fn the_published_checkpoint_is_read_and_written_to_the_letter() {
        let read: Checkpoint = C2SP_CHECKPOINT.parse().unwrap();
        assert_eq!(read.origin, "example.com/behind-the-sofa");
        assert_eq!(read.size, 20_852_163);
        assert_eq!(read.root.0[..4], [0x0a, 0xc5, 0x18, 0x6a]);
        assert_eq!((read.number(), read.time()), (None, None));
        assert_eq!(read.to_string(), C2SP_CHECKPOINT);
    }

    #[test]
    fn a_checkpoint_comes_back_with_every_trusted_key_that_signed_it() {
        let (old, new) = (key("log.example/a", 1), key("log.example/a", 2));
        let witness = key("witness.example", 3);
        let note = checkpoint().sign(&[&old, &witness, &new]).to_string();
        let trusted = [old.verifier().clone(), new.verifier().clone()];
        let (read, keys) = Checkpoint::open(&note, &trusted).unwrap();
        assert_eq!(read, checkpoint());
        assert_eq!(keys, vec![&trusted[0], &trusted[1]]);
        assert_eq!(read.number(), Some(7));
        assert_eq!(read.time(), Some("2026-01-02T03:04:05Z"));
    }

    #[test]
    fn strangers_and_witnesses_alone_do_not_speak_for_the_log() {
        let witness = key("witness.example", 3);
        let note = checkpoint().sign(&[&witness]).to_string();
        let log = [key("log.example/a", 1).verifier().clone()];
        assert!(matches!(
            Checkpoint::open(&note, &log),
            Err(CheckpointError::Note(NoteError::Stranger(_)))
        ));
        let trusted = [witness.verifier().clone()];
        assert_eq!(
            Checkpoint::open(&note, &trusted),
            Err(CheckpointError::Origin("log.example/a".to_owned()))
        );
    }

    #[test]
    fn keys_with_any_part_changed_are_refused() {
        for at in 0..GO_VERIFIER.len() {
            let mut changed = GO_VERIFIER.as_bytes().to_vec();
            changed[at] += 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<VerifierKey>().is_err(), "{changed}");
            assert!(GO_VERIFIER[..at].parse::<VerifierKey>().is_err());
        }
        for refused in ["", "a b", "a+b", "a\u{a0}b", "a\nb", &"a".repeat(256)] {
            assert_eq!(
                SigningKey::from_seed(refused, [1; 32]).unwrap_err(),
                KeyError::Name
            );
        }
        assert!(GO_VERIFIER.parse::<SigningKey>().is_err());
        // Another algorithm, with the id that belongs to it.
        let other = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(other.parse::<VerifierKey>(), Err(KeyError::Kind));
    }

    #[test]
    fn a_signing_key_is_not_printed() {
        let printed = format!("{:?}", key("log.example/a", 1));
        assert!(printed.starts_with("SigningKey(log.example/a+"));
        assert!(!printed.contains("AQEBAQ"));
    }

    #[test]
    fn malformed_notes_are_refused() {
        let good = checkpoint().sign(&[&key("log.example/a", 1)]).to_string();
        let line = good.lines().last().unwrap().to_owned();
        let refused = [
            String::new(),
            "\n\n".to_owned(),
            good.trim_end().to_owned(),
            good.replace("\n\n", "\n"),
            good.replace('\u{2014}', "-"),
            good.replace("log", "log\t"),
            format!("{good}\n"),
            format!("{good}more\n"),
            good.replace(&line, "\u{2014} log.example/a AAAA"),
            good.replace(&line, "\u{2014} log.example/a AAAAAA=="),
            good.replace(&line, "\u{2014}  AAAAAAAA"),
            format!("{good}{}", format!("{line}\n").repeat(MOST_SIGNATURES)),
            format!("{}\n{good}", "a".repeat(LONGEST_NOTE)),
        ];
        for note in refused {
            assert!(
                matches!(note.parse::<Note>(), Err(NoteError::Malformed(_))),
                "{note:?}"
            );
        }
        assert!(
            format!("{good}{}", format!("{line}\n").repeat(15))
                .parse::<Note>()
                .is_ok()
        );
    }

    #[test]
    fn notes_are_found_one_after_the_other_whatever_stands_between() {
        let note = |number| {
            let checkpoint = Checkpoint::of_history("log.example", number, "now", 1, empty());
            checkpoint.sign(&[&key("log.example", 1)]).to_string()
        };
        let (first, second) = (note(0), note(1));
        let half = &first[..first.len() - 30];
        for file in [
            format!("{first}{second}"),
            format!("\n{first}\n\n{second}\n"),
            format!("nothing\n\n{first}{half}\n\n{second}"),
        ] {
            let found: Vec<String> = notes(&file).map(|note| note.to_string()).collect();
            assert_eq!(found, [first.clone(), second.clone()], "{file}");
        }
        assert_eq!(notes("").count(), 0);
    }

    fn empty() -> Digest {
        Digest::of(b"")
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        let root = BASE64_STANDARD.encode([0; 32]);
        for text in [
            String::new(),
            "\n".to_owned(),
            format!("a\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("a\n01\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n\n{root}\n"),
            format!("a\n-1\n{root}\n"),
            format!("a\n18446744073709551616\n{root}\n"),
            "a\n1\nAAAA\n".to_owned(),
            "a\n1\n\n".to_owned(),
            format!("a\n1\n{}\n", root.trim_end_matches('=')),
            format!("a\n1\n{root}\n\n"),
            format!("a\n1\n{root}\nb\n\nc\n"),
        ] {
            assert!(
                matches!(
                    text.parse::<Checkpoint>(),
                    Err(CheckpointError::Malformed(_))
                ),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_changed_in_a_signed_checkpoint_it_is_refused_or_the_same(
            at in 0_usize..400, letter in any::<char>(),
        ) {
            let signer = key("log.example/a", 1);
            let trusted = [signer.verifier().clone()];
            let note = checkpoint().sign(&[&signer]).to_string();
            let mut letters: Vec<char> = note.chars().collect();
            let at = at % letters.len();
            letters[at] = letter;
            let changed: String = letters.into_iter().collect();
            let opened = Checkpoint::open(&changed, &trusted);
            prop_assert_eq!(opened.is_ok(), changed == note);
        }

        #[test]
        fn nothing_that_is_read_panics(
            text in "\\PC*(\n\\PC*){0,4}\n\n(\u{2014} \\PC{1,9} [A-Za-z0-9+/=]{0,99}\n){0,3}",
        ) {
            let _ = text.parse::<Note>();
            let _ = text.parse::<Checkpoint>();
            let _ = text.parse::<VerifierKey>();
            let _ = text.parse::<SigningKey>();
        }
    }
}
