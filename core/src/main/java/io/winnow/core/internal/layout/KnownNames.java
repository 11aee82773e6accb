package io.winnow.core.internal.layout;

import com.google.common.collect.ImmutableList;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames.Layout;
import java.util.ArrayList;
import java.util.List;

/**
 * The names under which checkpoints of any family hold their layers, gates and experts: those of
 * the hub, those that Transformers 5 computes in, and those that tools for calibration and training
 * leave. A family's own come first wherever they are looked for.
 */
final class KnownNames {
  /**
   * What precedes a decoder's names.
   *
   * @param prefix of all of them
   * @param stem of all but the head, behind the prefix
   */
  record Place(String prefix, String stem) {}

  static final ImmutableList<Place> PLACES =
      ImmutableList.of(
          new Place("", "model."), new Place("", ""), new Place("language_model.", "model."));

  /** The feed-forward block, in a layer. */
  static final ImmutableList<String> BLOCKS =
      ImmutableList.of("mlp", "block_sparse_moe", "feed_forward");

  /** The gate, in the block. */
  static final ImmutableList<String> ROUTERS =
      ImmutableList.of(
          "gate.weight", "router.weight", "router.layer.weight", "router.linear.weight");

  /** What is added to scores for the selection, in the block. */
  static final ImmutableList<String> CORRECTIONS =
      ImmutableList.of(
          "gate.e_score_correction_bias",
          "e_score_correction_bias",
          "router.e_score_correction_bias",
          "moe_statics.e_score_correction_bias",
          "gate.moe_statics.e_score_correction_bias");

  private static final ImmutableList<String> EXPERT =
      ImmutableList.of("experts.{expert}.", "experts.experts.{expert}.");

  private KnownNames() {}

  /**
   * Returns how routed experts may lie, in the block.
   *
   * @param alternating whether gate and up are in turn where one matrix holds both
   * @param biased whether experts have biases
   */
  static List<ExpertNames> experts(boolean alternating, boolean biased) {
    Layout layout = alternating ? Layout.ALTERNATING_ROWS : Layout.ROWS;
    List<ExpertNames> known = new ArrayList<>();
    for (String expert : EXPERT) {
      known.add(
          new ExpertNames.Single(
              expert + "gate_proj.weight",
              expert + "up_proj.weight",
              expert + "down_proj.weight",
              biased));
      known.add(
          new ExpertNames.Single(
              expert + "w1.weight", expert + "w3.weight", expert + "w2.weight", biased));
      known.add(
          new ExpertNames.Pair(
              layout, expert + "gate_up_proj.weight", expert + "down_proj.weight", biased));
    }
    known.add(
        new ExpertNames.Pair(
            layout,
            "experts.gate_up_projs.{expert}.weight",
            "experts.down_projs.{expert}.weight",
            biased));
    known.add(fused(layout, "experts.gate_up_proj", "experts.down_proj", "_bias", biased));
    known.add(fused(layout, "input_linear.weight", "output_linear.weight", ".bias", biased));
    return known;
  }

  private static ExpertNames fused(
      Layout layout, String gateUp, String down, String bias, boolean biased) {
    return new ExpertNames.Fused(
        layout, gateUp, down, biased ? gateUp + bias : null, biased ? down + bias : null);
  }
}
