package io.winnow.pruning;

import ai.djl.Model;
import com.google.common.base.Stopwatch;
import com.google.common.collect.ImmutableSortedMap;
import com.google.common.collect.Maps;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.calibration.Calibration;
import io.winnow.pruning.internal.search.BudgetDivision;
import io.winnow.pruning.internal.search.RetainedNumber;
import io.winnow.pruning.internal.table.CalibrationTables;
import io.winnow.pruning.internal.table.InnerProductTable;
import io.winnow.pruning.internal.table.StatisticsFile;
import io.winnow.pruning.internal.work.Interrupts;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.Executor;
import java.util.stream.IntStream;

/**
 * What a calibration pass saw of every MoE layer of a model, from which any method chooses any
 * number of experts, or divides a budget, without running the model again; on disk a file.
 *
 * <pre>{@code
 * CalibrationStatistics statistics = ExpertPruner.builder().build().calibrate(model, calibration);
 * statistics.write(Path.of("code.winnow"));
 * PruningReport six = statistics.choose(PruningMethod.reconstruction(), ExpertBudget.perLayer(6), 0);
 * PruningReport best = statistics.choose(PruningMethod.reap(), ExpertBudget.total(24), 0);
 * }</pre>
 *
 * <p>Made by {@link ExpertPruner#calibrate} or {@link #read}. Immutable; thread-safe. Its memory is
 * that of the {@link LayerCalibration}s, on the Java heap.
 */
public final class CalibrationStatistics {
  /** Of a layer with more experts than this, not every number is tried for a share of a total. */
  private static final int MOST_SHARES = 32;

  private final CalibrationTables tables;

  /** Creates statistics of every MoE layer, in order, with expert outputs. */
  CalibrationStatistics(CalibrationTables tables) {
    this.tables = tables;
  }

  /** Returns the layers, in order. */
  public List<LayerCalibration> layers() {
    return tables.layers().stream().map(LayerCalibration::new).toList();
  }

  /** Returns the digest of the calibration tokens. */
  public String calibration() {
    return tables.calibration();
  }

  /** Returns the number of calibration tokens. */
  public long tokens() {
    return tables.layers().get(0).tokens();
  }

  /**
   * Chooses on the calling thread; otherwise like {@link #choose(PruningMethod, ExpertBudget, long,
   * Executor)}.
   */
  public PruningReport choose(PruningMethod method, ExpertBudget budget, long seed) {
    return choose(method, budget, seed, Runnable::run);
  }

  /**
   * Chooses what every layer retains.
   *
   * @param budget how many
   * @param seed the seed of everything random
   * @param executor runs parts of the search; the choice is the same on any
   * @return the choice; {@link PruningReport#plan} prunes by it
   * @throws InvalidInputException if the budget is not possible
   */
  public PruningReport choose(
      PruningMethod method, ExpertBudget budget, long seed, Executor executor) {
    Stopwatch total = Stopwatch.createStarted();
    List<PruningReport.Layer> chosen = new ArrayList<>();
    String name = method.name();
    if (budget instanceof ExpertBudget.PerLayer even) {
      for (InnerProductTable layer : tables.layers()) {
        RetainedNumber.check(
            layer.layerIndex(), layer.numExperts(), layer.routing(), even.retained());
        chosen.add(choose(method, layer, even.retained(), seed, executor));
      }
    } else if (budget instanceof ExpertBudget.Total divided) {
      chosen = divide(method, divided.experts(), seed, executor);
      name += "-total-" + divided.experts();
    }
    return new PruningReport(
        chosen.stream().mapToInt(layer -> layer.retained().size()).max().orElse(0),
        false,
        tables.sequencesPerGroup(),
        tokens(),
        chosen,
        partLosses(chosen),
        new Provenance(
            name, method.needsCalibration() ? calibration() : null, seed, tables.source()),
        total.elapsed(),
        Optional.empty());
  }

  private static PruningReport.Layer choose(
      PruningMethod method, InnerProductTable layer, int retained, long seed, Executor executor) {
    Interrupts.check();
    return LayerChoice.of(method, layer, retained, seed, executor, Stopwatch.createStarted());
  }

  /**
   * Divides a total. All layers add to one residual stream, in which their squared errors add;
   * losses relative to each layer's own output would ruin a layer because it says much.
   */
  private List<PruningReport.Layer> divide(
      PruningMethod method, int total, long seed, Executor executor) {
    List<SortedMap<Integer, PruningReport.Layer>> options = new ArrayList<>();
    List<SortedMap<Integer, Double>> losses = new ArrayList<>();
    for (InnerProductTable layer : tables.layers()) {
      SortedMap<Integer, PruningReport.Layer> ofLayer = new TreeMap<>();
      for (int retained : shares(layer)) {
        ofLayer.put(retained, choose(method, layer, retained, seed, executor));
      }
      options.add(ofLayer);
      losses.add(
          ImmutableSortedMap.copyOf(
              Maps.transformValues(ofLayer, one -> squared(one.loss().orElse(0)))));
    }
    int[] retained = BudgetDivision.divide(losses, total);
    return IntStream.range(0, retained.length)
        .mapToObj(i -> Objects.requireNonNull(options.get(i).get(retained[i])))
        .toList();
  }

  private static double squared(double value) {
    return value * value;
  }

  /** Returns the numbers of experts that a layer may retain of a total, ascending. */
  private static List<Integer> shares(InnerProductTable layer) {
    int groups = layer.routing().groups();
    int topK = layer.routing().topK();
    int experts = layer.numExperts();
    int step = groups * Math.max(1, (experts - topK) / (groups * MOST_SHARES));
    List<Integer> shares = new ArrayList<>();
    for (int retained = experts; retained >= topK; retained -= step) {
      if (RetainedNumber.isPossible(experts, layer.routing(), retained)) {
        shares.add(0, retained);
      }
    }
    return shares;
  }

  /** Returns what each part of the calibration pays for a choice; nothing if there is one part. */
  List<PruningReport.PartLoss> partLosses(List<PruningReport.Layer> chosen) {
    List<InnerProductTable> layers = tables.layers();
    if (tables.parts().size() < 2) {
      return List.of();
    }
    List<PruningReport.PartLoss> losses = new ArrayList<>();
    long from = 0;
    for (Calibration.Part part : tables.parts()) {
      long to = from + (long) part.sequences() * tables.length();
      double sum = 0;
      for (int i = 0; i < layers.size(); i++) {
        sum += layers.get(i).relativeLoss(chosen.get(i).retained(), from, to);
      }
      losses.add(new PruningReport.PartLoss(part.name(), to - from, sum / layers.size()));
      from = to;
    }
    return losses;
  }

  /**
   * Writes the statistics to a file in the safetensors format, which appears when it is complete.
   *
   * @throws InvalidInputException if it is there already or cannot be written
   */
  public void write(Path file) {
    StatisticsFile.write(file, tables);
  }

  /**
   * Reads statistics of a model.
   *
   * @param model the model that they were made of, whole
   * @throws InvalidInputException if the file is no such file, damaged, of another version, or of
   *     another model
   */
  public static CalibrationStatistics read(Path file, Model model) {
    return read(file, MoeModel.of(model));
  }

  /** Reads statistics of a model of the host application, like {@link #read(Path, Model)}. */
  public static CalibrationStatistics read(Path file, MoeModel model) {
    List<? extends MoeLayerView> views = model.moeLayers();
    return new CalibrationStatistics(
        StatisticsFile.read(file, views, model.sourceDigest().orElse(null)));
  }
}
