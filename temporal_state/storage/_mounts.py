"""Which file system holds a path, and which cannot be trusted with locks and flushes.

One root belongs to one machine: ``flock`` on a network file system may be local, emulated or
absent, and nothing that a program can try at open tells which. So they are known by name.
"""

import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = re.compile(
    r"9p|acfs|afs|beegfs|ceph|cifs|coda|davfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs"
    r"|pvfs2|smb[23]|smbfs"
    r"|fuse\.(?:afpfs|blobfuse2?|ceph(?:-fuse)?|curlftpfs|davfs2?|gcsfuse|glusterfs|goofys|hdfs"
    r"|juicefs|lizardfs|mfs|moosefs|mount(?:point)?-s3|nfs|objectivefs|rclone|s3backer|s3fs|s3ql"
    r"|seaweedfs|smbnetfs|sshfs)"
)


def file_system(path: str) -> str:
    """Return the type of the file system that holds a resolved path, "" if the system is silent."""
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    return _type_at(path, lines)


def is_network(kind: str) -> bool:
    """Return whether a file system of this type is shared by machines."""
    return _NETWORK.fullmatch(kind) is not None


def _type_at(path: str, lines: list[str]) -> str:
    # Mounts on one another: the last line of the longest mount point is what one sees.
    best, kind = "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _unescape(before.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, after.split(" ")[0]
    return kind


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)
