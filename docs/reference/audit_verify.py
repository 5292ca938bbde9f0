#!/usr/bin/env python3
"""Checks a slipway audit log offline. Shares no code with slipway; needs nothing but Python's standard library.

    python3 audit_verify.py --db HOME/slipway.db --keys HOME/keys [--key FILE]

--key: the public key as you kept it yourself (a copy of keys/audit.pub). Without it the key found in --keys is used,
which proves nothing against someone who could exchange the key together with everything else.
Exit 0: the log is whole. Exit 1: it is not; the first wrong entry and the reason are printed. Exit 2: it cannot be read.
Format: docs/reference/audit-log.md
"""
import argparse
import base64
import hashlib
import json
import pathlib
import sqlite3
import sys

# ---- Ed25519 verification (RFC 8032, section 5.1.7), in plain integers: slow and easy to check ----
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def recover_x(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - x2) % P or (x == 0 and sign):
        raise ValueError("not a point of the curve")
    return P - x if x & 1 != sign else x


def decode(data):
    number = int.from_bytes(data, "little")
    y, sign = number & ((1 << 255) - 1), number >> 255
    if y >= P:
        raise ValueError("not a point of the curve")
    x = recover_x(y, sign)
    return x, y, 1, x * y % P


def add(a, b):
    u = (a[1] - a[0]) * (b[1] - b[0]) % P
    v = (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = v - u, d - c, d + c, v + u
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar, point):
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = decode(BASE_Y.to_bytes(32, "little"))


def ed25519_verify(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    try:
        key, r = decode(public), decode(signature[:32])
    except ValueError:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = times(s, BASE), add(r, times(k, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# ---- keys and signed notes (C2SP signed-note, tlog-checkpoint) ----
class Bad(Exception):
    """The log, a signed head or a key is not what it should be."""


def parse_key(text):
    name, key_id, data = text.strip().split("+", 2)
    raw = base64.b64decode(data, validate=True)
    if len(raw) != 33 or raw[0] != 1:
        raise Bad("the public key is not an Ed25519 key")
    if hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() != key_id:
        raise Bad("the public key does not fit its own id")
    return name, raw[1:], bytes.fromhex(key_id)


def open_note(note, key):
    name, public, key_id = key
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        prefix = "\u2014 " + name + " "
        if not line.startswith(prefix):
            continue
        raw = base64.b64decode(line[len(prefix):])
        if raw[:4] == key_id and ed25519_verify(public, text.encode(), raw[4:]):
            origin, size, root = text.split("\n")[:3]
            if origin != name:
                raise Bad(f"the signed head is of {origin}, not of {name}")
            return int(size), base64.b64decode(root)
    raise Bad(f"a signed head carries no valid signature of {name}")


def signed_heads(folder, key):
    heads = []
    history = folder / "checkpoint.history"
    if history.exists():
        parts = history.read_text().split("\n\n")  # text, signatures, text, signatures, ..., rest
        heads += [open_note(a + "\n\n" + b + "\n", key) for a, b in zip(parts[0:-1:2], parts[1:-1:2])]
    checkpoint = folder / "checkpoint"
    if not checkpoint.exists():
        raise Bad("the signed checkpoint is missing")
    heads.append(open_note(checkpoint.read_text(), key))
    return sorted(heads)


# ---- the tree (RFC 6962, section 2.1) ----
def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    def __init__(self):
        self.size, self.edge = 0, []

    def push(self, leaf):
        level, position = 0, self.size
        while position & 1:
            leaf = node(self.edge[level], leaf)
            level, position = level + 1, position >> 1
        self.edge[level:level + 1] = [leaf]
        self.size += 1

    def root(self):
        if not self.size:
            return hashlib.sha256(b"").digest()
        root = None
        for level in range(self.size.bit_length()):
            if self.size >> level & 1:
                root = self.edge[level] if root is None else node(self.edge[level], root)
        return root


def entry_bytes(row):
    """Canonical JSON (RFC 8785) of the entry; `details` is stored in that form already."""
    text = lambda value: json.dumps(value, ensure_ascii=False)
    json.loads(row["details"])  # one complete value, or an exception
    return ('{"action":%s,"actor":%s,"details":%s,"digest":%s,"object":%s,"previous":%s,"sequence":%d,"time":%d}' % (
        text(row["action"]), text(row["actor"]), row["details"], text(row["digest"]), text(row["object"]),
        text(row["previous"]), row["sequence"], row["time"])).encode()


def verify(database, folder, key_text):
    key = parse_key(key_text)
    heads = signed_heads(folder, key)
    signed_size, good, tree, previous = heads[-1][0], 0, Tree(), "0" * 64
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    for row in connection.execute("SELECT * FROM audit_entries ORDER BY sequence"):
        number, what = tree.size, f"{row['action']} {row['object']}"
        if row["sequence"] != number:
            raise Bad(f"entry {number} is missing")
        try:
            leaf = hashlib.sha256(b"\x00" + entry_bytes(row)).digest()
        except (ValueError, TypeError):
            raise Bad(f"entry {number} ({what}) was changed: it cannot be read")
        if leaf.hex() != row["leaf"]:
            raise Bad(f"entry {number} ({what}) was changed")
        if row["previous"] != previous:
            raise Bad(f"entry {max(number - 1, 0)} was replaced: entry {number} follows another one")
        if number == 0 and json.loads(row["details"]).get("public_key") != key_text.strip():
            raise Bad("entry 0 names another key: the key was exchanged")
        if number >= signed_size:
            message = f"slipway audit entry v1\n{number}\n{leaf.hex()}\n".encode()
            if not ed25519_verify(key[1], message, base64.b64decode(row["signature"])):
                raise Bad(f"entry {number} ({what}) was not written by slipway")
        tree.push(leaf)
        previous = row["leaf"]
        while heads and heads[0][0] == tree.size:
            if heads.pop(0)[1] != tree.root():
                raise Bad(f"one of the entries {good} to {number} is not the one that was signed")
            good = tree.size
    if heads:
        raise Bad(f"entries {tree.size} to {signed_size - 1} are missing: the log was rolled back or cut off")
    return tree, signed_size


def main():
    parser = argparse.ArgumentParser(description="Checks a slipway audit log offline.")
    parser.add_argument("--db", required=True, type=pathlib.Path)
    parser.add_argument("--keys", required=True, type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path)
    options = parser.parse_args()
    try:
        key_text = (options.key or options.keys / "audit.pub").read_text().strip()
        tree, signed_size = verify(options.db, options.keys, key_text)
    except Bad as bad:
        print(f"NOT WHOLE: {bad}")
        return 1
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"cannot read the log: {error}", file=sys.stderr)
        return 2
    print(f"whole: {tree.size} entries, root {tree.root().hex()}, {signed_size} of them signed by {key_text.split('+')[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
