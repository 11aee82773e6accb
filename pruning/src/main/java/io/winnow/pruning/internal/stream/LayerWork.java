package io.winnow.pruning.internal.stream;

import com.google.common.base.Stopwatch;
import io.winnow.core.Provenance;
import io.winnow.core.Routing;
import io.winnow.pruning.internal.table.InnerProductTable;

/** What a run on disk does with each layer. */
public interface LayerWork {
  /** Returns whether the calibration runs through the layers at all. */
  boolean needsForward();

  /** Returns whether the experts' outputs are measured. */
  boolean withOutputs();

  /** Returns an empty table of a layer. */
  InnerProductTable newTable(int layer, int numExperts, Routing routing);

  /**
   * Chooses what a layer retains.
   *
   * @param time the running time of the layer, which is stopped
   */
  ChosenLayer choose(InnerProductTable seen, Stopwatch time);

  /** Returns what to note of the choice. */
  Provenance provenance();
}
