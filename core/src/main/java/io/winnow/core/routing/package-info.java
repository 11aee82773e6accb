/**
 * The kinds of routing: how router logits become experts and weights.
 *
 * <p>The routing of DeepSeek-V3, for one token:
 *
 * <pre>{@code
 * Routing routing =
 *     ScoredRouting.builder(ScoredRouting.Score.SIGMOID, 256, 8)
 *         .optCorrection(bias)
 *         .optGroups(8, 4, ScoredRouting.GroupScore.TWO_GREATEST)
 *         .optNormalized(1e-20, 0)
 *         .optFactor(2.5)
 *         .build();
 * RoutingDecision decision = routing.route(logits, 256);
 * int best = decision.expert(0, 0);
 * float weight = decision.weight(0, 0);
 * }</pre>
 */
@NullMarked
package io.winnow.core.routing;

import org.jspecify.annotations.NullMarked;
