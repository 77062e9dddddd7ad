"""Samples that must stay together: those that share an image, an image set or a group, directly or through others."""

from __future__ import annotations

import posixpath
from array import array
from collections.abc import Iterator

from mirg.data.keys import SPAN, keyed
from mirg.samples import DatasetFolder, Sample
from mirg.samples.grouping import GroupBy
from mirg.samples.roots import MARK


class Groups:
    """The connected components of samples over images, image sets and the groups of ``by``; union-find over numbers.

    Samples are added in the order of the file and known by their number from 0. An image is known by the digest of its
    file, and by its place, so that a row without digest is joined to one with it. Memory is some hundred bytes per
    image.
    """

    def __init__(self, folder: DatasetFolder, by: GroupBy | None = None) -> None:
        self._folder, self._by = folder, by
        self._nodes: dict[int, int] = {}  # key of an image or a set -> node
        self._above = array("Q")
        self._samples = array("Q")  # a node of each sample
        self._names = array("Q")  # of each node: the least name of its group

    def add(self, sample: Sample, *, ungrouped: bool = False) -> None:
        """Join the groups of everything that ``sample`` is about.

        NoGroup, before anything is changed, if ``by`` cannot tell its group; ``ungrouped`` takes the groups of those
        images whose group can be found.
        """
        groups: list[str] = []
        if self._by:
            groups = self._by.known(sample) if ungrouped else self._by.keys(sample)
        name = keyed("set", sample.image_set)
        root = self._root(self._node(name))
        if not groups:
            self._call(root, name if self._by is None else SPAN // 2 + name // 2)
        for group in groups:
            root = self._join(root, self._root(self._node(keyed("group", group))))
            self._call(root, keyed("group", group) // 2)  # below every name of an image set
        for key in self._image_keys(sample):
            root = self._join(root, self._root(self._node(key)))
        self._samples.append(root)

    def __len__(self) -> int:
        """Samples added."""
        return len(self._samples)

    def group(self, number: int) -> int:
        """A number that all samples of one group share."""
        return self._root(self._samples[number])

    def name(self, number: int) -> int:
        """What the group of a sample is known by, from 0 to 2^64 - 1.

        The number depends only on the keys of ``by`` in the group, or on its image sets without such a key: more images
        of one scene do not move the scene.
        """
        return self._names[self.group(number)]

    def _call(self, root: int, name: int) -> None:
        self._names[root] = min(self._names[root], name)

    def _image_keys(self, sample: Sample) -> Iterator[int]:
        for ref in sample.images:
            if ref.sha256:
                yield keyed("sha256", ref.sha256)
            yield keyed("path", self._place(ref.path))

    def _place(self, path: str) -> str:
        """Where an image lies, spelled in one way; links are not followed, which would cost a look at every file."""
        if not path.startswith(MARK):
            return posixpath.normpath(posixpath.join(str(self._folder.roots.own), path))
        name, _, inside = path[1:].partition("/")
        folder = self._folder.roots.declared.get(name)
        return posixpath.normpath(posixpath.join(str(folder), inside)) if folder else path

    def _node(self, key: int) -> int:
        node = self._nodes.setdefault(key, len(self._above))
        if node == len(self._above):
            self._above.append(node)
            self._names.append(SPAN - 1)
        return node

    def _root(self, node: int) -> int:
        above = self._above
        while above[node] != node:
            above[node] = above[above[node]]
            node = above[node]
        return node

    def _join(self, a: int, b: int) -> int:
        """The root of both; the older node stays, and trees stay shallow by halving the paths."""
        low, high = (a, b) if a < b else (b, a)
        self._above[high] = low
        self._names[low] = min(self._names[low], self._names[high])
        return low
