package io.winnow.pruning;

import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import io.winnow.core.MoeLayerView;
import io.winnow.core.Provenance;
import io.winnow.core.Routing;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.pruning.internal.table.CandidateBudget;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.work.CalibrationRun;
import io.winnow.pruning.internal.work.Interrupts;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What to do: the description that runs in memory, progressive runs and runs on disk share.
 *
 * @param retained r
 * @param withOutputs whether the experts' outputs are measured
 */
record PruningTask(
    PruningOptions options, Calibration calibration, int retained, boolean withOutputs) {

  /** Returns the task of choosing r experts of every layer. */
  static PruningTask of(PruningOptions options, Calibration calibration, int retained) {
    boolean withOutputs = options.method().needsExpertOutputs() || options.measureLoss();
    return new PruningTask(options, calibration, retained, withOutputs);
  }

  PruningMethod method() {
    return options.method();
  }

  TokenSequences sequences() {
    return calibration.sequences();
  }

  /** Returns whether the calibration runs through the model at all. */
  boolean needsForward() {
    return withOutputs || method().needsCalibration();
  }

  /** Returns the batches that run through a model in memory. */
  List<TokenSequences> batches() {
    Integer tokens = options.batchTokens();
    return CalibrationRun.batches(
        sequences(), tokens == null ? CalibrationRun.BATCH_TOKENS : tokens);
  }

  Progress progress() {
    return SilentProgress.unless(options.progress());
  }

  /** Returns the tokens of one group of the loss. */
  long tokensPerGroup() {
    int perGroup = options.sequencesPerGroup();
    return perGroup == 0 ? sequences().tokens() : (long) perGroup * sequences().length();
  }

  /**
   * Returns the budget of the layers' tables.
   *
   * @param layers those whose tables exist at the same time; none for one by one
   */
  CandidateBudget budget(List<CandidateBudget.Layer> layers) {
    return new CandidateBudget(
        layers,
        sequences().tokens(),
        retained,
        withOutputs,
        options.candidates(),
        options.calibrationMemory());
  }

  InnerProductTable newTable(MoeLayerView layer, CandidateBudget budget) {
    return newTable(layer.layerIndex(), layer.numExperts(), layer.routing(), budget);
  }

  InnerProductTable newTable(int layer, int numExperts, Routing routing, CandidateBudget budget) {
    int candidates = budget.candidates(new CandidateBudget.Layer(numExperts, routing));
    return new InnerProductTable(layer, numExperts, routing, tokensPerGroup(), candidates);
  }

  /** Checks that a model in memory has shown all tokens. */
  void checkAllSeen(InnerProductTable seen) {
    if (needsForward() && seen.tokens() != sequences().tokens()) {
      throw new IllegalStateException(
          String.format(
              "The model showed layer %d %d of the %d calibration tokens; its forward must show"
                  + " every MoE layer the input of every token",
              seen.layerIndex(), seen.tokens(), sequences().tokens()));
    }
  }

  /** Chooses what a layer retains; its time is stopped. */
  PruningReport.Layer choose(InnerProductTable seen, Stopwatch time) {
    Interrupts.check();
    return LayerChoice.of(method(), seen, retained, options.seed(), options.executor(), time);
  }

  /**
   * Returns how the choice is made.
   *
   * @param source the digest of the checkpoint, null if it is unknown
   */
  Provenance provenance(boolean progressive, @Nullable String source) {
    return new Provenance(
        method().name() + (progressive ? "-progressive" : ""),
        method().needsCalibration() ? calibration.digest() : null,
        options.seed(),
        source);
  }

  /** Returns the report of this task. */
  PruningReport report(
      boolean progressive,
      List<PruningReport.Layer> layers,
      List<PruningReport.PartLoss> parts,
      @Nullable String source,
      Duration time) {
    return new PruningReport(
        retained,
        progressive,
        options.sequencesPerGroup(),
        sequences().tokens(),
        layers,
        parts,
        provenance(progressive, source),
        time,
        Optional.empty());
  }
}
