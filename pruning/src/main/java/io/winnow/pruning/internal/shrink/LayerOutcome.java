package io.winnow.pruning.internal.shrink;

import java.util.List;

/**
 * What became of a layer.
 *
 * @param layer its number
 * @param retained the experts that stayed
 * @param channels for each of them the channels that stayed; empty where all did
 * @param lambda the damping of the repair; 0 where there was none
 * @param held the left-out error behind the repair as a share of that before; 1 without
 * @param before the error of the layer on the fitted tokens before the repair, as a share of the
 *     full model's output
 * @param after the same behind it
 * @param fewTokens the experts that so few tokens took that their repair is mostly damping
 */
public record LayerOutcome(
    int layer,
    List<Integer> retained,
    List<List<Integer>> channels,
    double lambda,
    double held,
    double before,
    double after,
    List<Integer> fewTokens) {}
