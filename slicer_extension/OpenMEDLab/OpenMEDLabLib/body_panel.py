"""*Whole body*: all structures of the volume as segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from openmedlab.core import InputError
from OpenMEDLabLib.assistant import Listener
from OpenMEDLabLib.logic import OpenMEDLabLogic
from OpenMEDLabLib.model_choice import ModelChoice
from OpenMEDLabLib.status import StatusBar, button
from OpenMEDLabLib.tick_list import TickList


class BodyPanel:
    """Model, structures, *Run*.

    Parameters
    ----------
    made
        Called with the new segmentation node.
    """

    def __init__(
        self, layout: Any, logic: OpenMEDLabLogic, status: StatusBar, made: Callable[[Any], None]
    ) -> None:
        self.logic, self.status, self._made = logic, status, made
        self.box = ctk.ctkCollapsibleButton()
        self.box.text = _("Whole body")
        self.box.collapsed = True
        layout.addWidget(self.box)
        form = qt.QFormLayout(self.box)
        self.model = ModelChoice(logic.assistant, "labels", lambda _name: self._show_classes())
        form.addRow(_("Model:"), self.model.combo)
        self.classes = TickList(form, _("Structures:"))
        self.fast = qt.QCheckBox(_("Fast (coarser)"))
        self.run_button = button(_("Segment the whole body"), self.run)
        form.addRow(self.fast)
        form.addRow(self.run_button)

    def refresh(self) -> None:
        """Show the server's models."""
        self.model.refresh()
        self._show_classes()

    def _show_classes(self) -> None:
        model = self.model.model
        known = model.classes if model is not None else None
        self.classes.show([known[n] for n in sorted(known)] if known else [])

    def run(self) -> None:
        """Ask for the ticked structures."""
        self.status.ask(self._begin, self._done)

    def _begin(self, listener: Listener) -> None:
        model = self.model.model
        if model is None:
            raise InputError(_("Connect to a server that labels whole scans."))
        ticked = self.classes.ticked()
        if self.classes.names and not ticked:
            raise InputError(_("Tick at least one structure."))
        wanted = ticked if len(ticked) < len(self.classes.names) else None
        self.logic.label(model.name, wanted, self.fast.checked, listener)

    def _done(self, node: Any) -> None:
        count = node.GetSegmentation().GetNumberOfSegments()
        self.status.say(_("{n} structures in {name}").format(n=count, name=node.GetName()))
        self._made(node)
