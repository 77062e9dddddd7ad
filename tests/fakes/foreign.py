"""Sentences of chains in languages that nobody asked for."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """How a chain begins, says what an image shows, and gives the place of an object."""

    start: str
    shows: str
    at: str


FOREIGN = {
    "french": Words(
        "Je regarde d'abord toutes les images pour voir ce qu'elles ont en commun et ce qui les distingue.",
        "Dans l'image {n}, on voit {what} sur un fond clair.",
        "Dans Image-{n}, l'objet {what} se trouve ici: {box}, et il est bien visible.",
    ),
    "spanish": Words(
        "Primero miro todas las imágenes para ver lo que tienen en común y lo que las distingue.",
        "En la imagen {n} se ve {what} sobre un fondo claro.",
        "En Image-{n} el objeto {what} está en {box} y se ve muy bien.",
    ),
    "italian": Words(
        "Prima guardo tutte le immagini per capire che cosa hanno in comune e che cosa le distingue.",
        "Nell'immagine {n} si vede {what} su uno sfondo chiaro.",
        "In Image-{n} l'oggetto {what} si trova in {box} ed è ben visibile.",
    ),
    "dutch": Words(
        "Ik kijk eerst naar alle afbeeldingen om te zien wat ze gemeen hebben en waarin ze verschillen.",
        "Op afbeelding {n} zie je {what} tegen een lichte achtergrond.",
        "In Image-{n} staat het voorwerp {what} bij {box} en het is goed te zien.",
    ),
    "russian": Words(
        "Сначала я смотрю на все картинки, чтобы понять, что у них общего и чем они отличаются.",
        "На картинке {n} видно {what} на светлом фоне, и больше ничего нет.",
        "Объект {what} находится на Image-{n} здесь: {box}, и его хорошо видно.",
    ),
    "chinese": Words(
        "首先 我 看 所有 的 图片 ， 找出 它们 的 共同点 和 不同点 ， 然后 再 决定 。",
        "图片 {n} 里 有 {what} ， 背景 是 浅色 的 。",
        "在 Image-{n} 里 ， {what} 的 位置 是 {box} ， 很 清楚 。",
    ),
}
