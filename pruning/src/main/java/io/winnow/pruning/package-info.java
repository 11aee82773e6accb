/**
 * Removing experts after training: methods, budgets, plans, reports and statistics.
 *
 * <pre>{@code
 * // In place, 8 -> 6 experts a layer, by what reconstructs each layer's output best.
 * PruningReport report = ExpertPruner.prune(model, calibration, 6);
 * report.plan().write(Path.of("plan.json"));
 *
 * // Any other copy of the model, without calibration.
 * PruningPlan.read(Path.of("plan.json")).applyTo(other);
 *
 * // Calibrate once, then choose any number by any method.
 * CalibrationStatistics statistics = ExpertPruner.builder().build().calibrate(model, calibration);
 * PruningReport best = statistics.choose(PruningMethod.reap(), ExpertBudget.total(24), 0);
 *
 * // A checkpoint larger than memory.
 * ExpertPruner.prune(source, calibration, 6, target);
 * }</pre>
 *
 * <p>A method of one's own implements {@link io.winnow.pruning.PruningMethod}, which is shown each
 * layer as a {@link io.winnow.pruning.LayerCalibration}.
 */
@NullMarked
package io.winnow.pruning;

import org.jspecify.annotations.NullMarked;
