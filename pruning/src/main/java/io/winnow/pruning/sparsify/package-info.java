/**
 * Erasing single weights of experts, as Wanda does: what pruning whole experts is compared with.
 *
 * <pre>{@code
 * Wanda wanda = Wanda.builder().setPattern(SparsityPattern.TWO_OF_FOUR).build();
 * WandaMask mask = wanda.calibrate(model, calibration);
 * SparsityReport report =
 *     mask.report(MoeModels.writeMasked(source, mask, mask.provenance(), target, null));
 * report.write(Path.of("sparsity.json"));
 * }</pre>
 */
@NullMarked
package io.winnow.pruning.sparsify;

import org.jspecify.annotations.NullMarked;
