#!/usr/bin/env python3
"""Verifies an export of a Lockstep history: verify_export.py FILE KEY

Written from the description of the format alone (src/domain/audit/export.rs) and shares nothing
with Lockstep. Needs Python 3.9 and the package `cryptography` (for Ed25519). Exit code 0 when every
event is as it was written and nothing that the filter names was left out, else 1 with the reason.
"""
import base64, datetime, hashlib, json, sys, tarfile, unicodedata
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Refused(Exception):
    pass


def need(holds, why):
    if not holds:
        raise Refused(why)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def parse_key(text):
    name, key_id, public = text.split("+", 2)
    raw = base64.b64decode(public, validate=True)
    need(raw[0] == 1 and len(raw) == 33, "no Ed25519 key")
    need(sha(name.encode(), b"\n", raw)[:4].hex() == key_id, "the key's id is not its own")
    return text, name, raw[1:]


def open_checkpoint(note, keys):
    """(origin, size, root) of a checkpoint that one of the keys signed; C2SP signed-note."""
    text, block = note.rsplit("\n\n", 1)
    text += "\n"
    signed = False
    for line in block.rstrip("\n").split("\n"):
        need(line.startswith("\u2014 "), "no signature line")
        name, signature = line[2:].split(" ", 1)
        signature = base64.b64decode(signature, validate=True)
        for key, key_name, public in keys:
            key_id = bytes.fromhex(key.split("+")[1])
            if name == key_name and signature[:4] == key_id:
                Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], text.encode())
                signed = signed or text.split("\n")[0] == key_name
    need(signed, "no trusted key signed the checkpoint")
    origin, size, root = text.split("\n")[:3]
    return origin, int(size), base64.b64decode(root, validate=True)


def parent(left, right):
    return sha(b"\x01", left, right)


def subtrees(begin, end):
    """Levels of the largest aligned complete subtrees over begin..end, from the left."""
    while begin < end:
        level = (end - begin).bit_length() - 1
        if begin:
            level = min(level, (begin & -begin).bit_length() - 1)
        yield level
        begin += 1 << level


class Tree:
    def __init__(self):
        self.peaks = []

    def push(self, level, node):
        while self.peaks and self.peaks[-1][0] == level:
            node, level = parent(self.peaks.pop()[1], node), level + 1
        self.peaks.append((level, node))

    def root(self):
        if not self.peaks:
            return sha()
        node = self.peaks[-1][1]
        for _, left in reversed(self.peaks[:-1]):
            node = parent(left, node)
        return node


def check_inclusion(leaf, index, size, root, proof):
    """RFC 9162, 2.1.3.2."""
    need(index < size, "no such leaf")
    at, last, node = index, size - 1, leaf
    for other in proof:
        need(last > 0, "the proof is too long")
        if at % 2 or at == last:
            node = parent(other, node)
            while at % 2 == 0 and at:
                at, last = at >> 1, last >> 1
        else:
            node = parent(node, other)
        at, last = at >> 1, last >> 1
    need(last == 0 and node == root, "an event is not in the tree")


def check_consistency(old, old_root, new, new_root, proof):
    """RFC 9162, 2.1.4.2."""
    need(0 < old <= new, "the earlier checkpoint is not earlier")
    if old == new:
        return need(old_root == new_root and not proof, "two checkpoints of one size differ")
    proof = list(proof) if old & (old - 1) else [old_root] + list(proof)
    at, last = old - 1, new - 1
    while at % 2:
        at, last = at >> 1, last >> 1
    need(proof, "the proof is too short")
    first = second = proof[0]
    for other in proof[1:]:
        need(last > 0, "the proof is too long")
        if at % 2 or at == last:
            first, second = parent(other, first), parent(other, second)
            while at % 2 == 0 and at:
                at, last = at >> 1, last >> 1
        else:
            second = parent(second, other)
        at, last = at >> 1, last >> 1
    need(last == 0 and first == old_root and second == new_root, "the log was rewritten")


def check_earlier(earlier, keys, has_handovers, newer):
    origin, size, root = newer
    try:
        older, old_size, old_root = open_checkpoint(earlier["checkpoint"], keys)
    except Refused:
        # Signed before the reader's key was named: it says nothing to them.
        need(has_handovers, "no trusted key signed the earlier checkpoint")
        return
    need(older == origin, "the earlier checkpoint is of another log")
    steps = [bytes.fromhex(each) for each in earlier["consistency"]]
    check_consistency(old_size, old_root, size, root, steps)


def trust(keys, handovers):
    for hand in handovers:
        try:
            _, size, root = open_checkpoint(hand["checkpoint"], keys)
        except (Refused, InvalidSignature):
            continue
        header, payload = json.loads(hand["header"]), json.loads(hand["payload"])
        previous = bytes.fromhex(hand["previous"])
        leaf = sha(b"\x00", hand["header"].encode(), sha(hand["payload"].encode()), previous)
        proof = [bytes.fromhex(each) for each in hand["inclusion"]]
        check_inclusion(leaf, header["seq"], size, root, proof)
        vouched = any(key[0] == payload.get("before") for key in keys)
        if header["type"] == "signing-key.named" and vouched:
            keys = keys + [parse_key(payload["key"])]
    return keys


def names(asked, header):
    """Whether the filter names the event."""
    if asked["since"] is not None and header["at"] < asked["since"]:
        return False
    if asked["until"] is not None and header["at"] >= asked["until"]:
        return False
    return all(asked[part] in (None, header[part]) for part in ("target", "stack", "object"))


def moment(micros):
    seconds, rest = divmod(micros, 1_000_000)
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:06}Z"


def inert(cell):
    line = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in cell)
    rest = line
    while rest[:1] == "\ufeff" or rest[:1].isspace():
        rest = rest[1:]
    return "'" + line if rest[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20|%") else line


def csv_line(cells):
    return ",".join('"' + inert(cell).replace('"', '""') + '"' for cell in cells) + "\r\n"


def csv_row(header, payload, people, digest):
    def first(*paths):
        for path in paths:
            value = payload
            for part in path.split("/"):
                value = value.get(part) if isinstance(value, dict) else None
            if isinstance(value, str):
                return value
        return ""

    known = {each["commitment"]: json.loads(each["value"]) for each in people}
    who = []
    for entry in payload.get("people", []):
        person = known.get(entry["person"])
        if person is not None:
            shown = person.get("login") or person.get("name") or person.get("email") or "unknown"
            who.append(entry["part"] + ": " + shown)
    actor = header["actor"]["kind"] + ":" + header["actor"]["id"]
    cells = [str(header["seq"]), moment(header["at"]), header["type"], actor]
    cells += [header[part] or "" for part in ("target", "stack", "object", "run")]
    cells += [first("status", "outcome", "action", "decision")]
    cells += [first("source/revision", "revision", "after"), first("reason", "message")]
    return csv_line(cells + ["; ".join(who), digest])


def cloud_event(origin, header, payload, digest):
    event = {"specversion": "1.0", "id": str(header["seq"]), "source": origin, "hash": digest,
             "type": "lockstep." + header["type"], "time": moment(header["at"]), "data": payload,
             "actor": header["actor"]["kind"] + ":" + header["actor"]["id"]}
    for member, part in (("target", "target"), ("stack", "stack"), ("subject", "object"), ("run", "run")):
        if header[part] is not None:
            event[member] = header[part]
    return event


def verify(archive, key):
    read = lambda name: archive.extractfile(name).read().decode()
    manifest, proof = json.loads(read("manifest.json")), json.loads(read("proof.json"))
    need(manifest["format"] == "lockstep-audit-export/1", "an unknown format")
    keys = trust([parse_key(key)], proof.get("handovers", []))
    origin, size, root = open_checkpoint(read("checkpoint"), keys)
    need(origin == manifest["origin"], "the checkpoint is of another log")
    begin, end = manifest["from"], manifest["to"]
    need(0 <= begin <= end <= size, "the range is not in the checkpoint")
    if proof["earlier"]:
        check_earlier(proof["earlier"], keys, bool(proof.get("handovers")), (origin, size, root))

    tree, matches, place = Tree(), 0, begin
    left, right = list(subtrees(0, begin)), list(subtrees(end, size))
    need(len(left) == len(proof["before"]) and len(right) == len(proof["after"]), "the proof does not fit")
    for level, node in zip(left, proof["before"]):
        tree.push(level, bytes.fromhex(node))
    previous = bytes.fromhex(manifest["previous"])
    table = [csv_line(["sequence", "time", "type", "actor", "target", "stack", "object", "run", "status",
                       "revision", "reason", "people", "hash"])]
    cloud = iter(archive.extractfile("events.ndjson").read().decode().split("\n")[:-1])
    for text in archive.extractfile("log.ndjson"):
        line = json.loads(text)
        header, digest = json.loads(line["header"]), bytes.fromhex(line["payload_digest"])
        own = sha(b"\x00", line["header"].encode(), digest, previous)
        need(own.hex() == line["hash"], f"event {place} was altered, moved or removed")
        need(header["seq"] == place, f"event {place}: its header names another place")
        tree.push(0, own)
        previous, place = own, place + 1
        need(names(manifest["filter"], header) == ("payload" in line), f"event {place - 1}: the filter says otherwise")
        people = line.get("people", [])
        need("payload" in line or not people, "people without a content")
        if "payload" not in line:
            continue
        matches += 1
        need(sha(line["payload"].encode()) == digest, f"event {place - 1}: its content was altered")
        for person in people:
            commitment = sha(b"\x02", bytes.fromhex(person["salt"]), person["value"].encode()).hex()
            need(commitment == person["commitment"] and commitment in line["payload"], "a person is not who was named")
        payload = json.loads(line["payload"])
        table.append(csv_row(header, payload, people, line["hash"]))
        need(json.loads(next(cloud, "0")) == cloud_event(origin, header, payload, line["hash"]), "events.ndjson differs")
    need(place == end, f"event {place} is missing")
    for level, node in zip(right, proof["after"]):
        tree.push(level, bytes.fromhex(node))
    need(tree.root() == root, "the events are not those that were signed")
    need((manifest["events"], manifest["matches"]) == (end - begin, matches), "the manifest counts otherwise")
    need(next(cloud, None) is None, "events.ndjson has more")
    need(archive.extractfile("changes.csv").read().decode() == "".join(table), "changes.csv differs")
    return end - begin, matches


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        with tarfile.open(sys.argv[1], "r:") as opened:
            print("%d events, %d in full: as they were written" % verify(opened, sys.argv[2]))
    except InvalidSignature:
        sys.exit("refused: a signature is not of its text")
    except (Refused, KeyError, TypeError, ValueError, AttributeError, tarfile.TarError) as error:
        sys.exit(f"refused: {error}")
