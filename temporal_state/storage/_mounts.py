"""Which file systems cannot be trusted with locks and flushes.

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


def network_file_system(path: str) -> str | None:
    """Return the type of the network file system that holds a resolved path, or ``None``.

    ``None`` is also the answer where the system does not tell (it has no mountinfo).
    """
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    kind = _type_at(path, lines)
    return kind if _NETWORK.fullmatch(kind) else None


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
