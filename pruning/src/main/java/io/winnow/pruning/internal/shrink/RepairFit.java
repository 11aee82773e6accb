package io.winnow.pruning.internal.shrink;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.internal.kernel.fit.FitKernel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Fits changes of the experts' last matrices to an error of the layer's output: with E the error
 * {@code [tokens, d]} and h_i an expert's weighted features, the changes D_i minimise
 *
 * <pre>
 *   || E - sum_i h_i D_i ||^2 + lambda sum_c R_c || D_c ||^2 ,   R_c = sum of h_c^2 + mean / 1000
 * </pre>
 *
 * by Gauss-Seidel: expert after expert, each with what the others leave, three times. An expert
 * with fewer tokens than channels is solved from the tokens' side. Experts are visited in the order
 * of their energy, so that their numbers do not matter.
 */
final class RepairFit {
  /** What the damping is chosen from. */
  static final List<Double> LAMBDAS = List.of(.01, .03, .1, .3, 1., 3., 10., 30.);

  private static final int SWEEPS = 3;

  private final FitKernel kernel;
  private final List<Block> blocks;
  private final long memoryBytes;
  private final Runnable interrupts;

  /**
   * Some channels of an expert: all of them, unless their equations are too large.
   *
   * @param place of the expert in the list
   */
  private record Block(int place, ExpertFeatures features) {}

  /** What was found: the changes, in the order of the experts; the caller closes them. */
  record Result(List<NDArray> changes, double lambda, double held, double before, double after) {
    boolean isNone() {
      return lambda == 0;
    }
  }

  /**
   * Creates a fit.
   *
   * @param manager owns copies that the fit needs where equations are cut into groups of channels
   * @param memoryBytes how much the equations may take; at least one expert's, or one group's
   * @param interrupts ends the work if the thread was interrupted
   */
  RepairFit(
      FitKernel kernel,
      NDManager manager,
      List<ExpertFeatures> experts,
      long memoryBytes,
      Runnable interrupts) {
    this.kernel = kernel;
    this.memoryBytes = memoryBytes;
    this.interrupts = interrupts;
    blocks = new ArrayList<>();
    for (int i = 0; i < experts.size(); i++) {
      ExpertFeatures expert = experts.get(i);
      if (expert.tokens().length == 0) {
        continue;
      }
      int most = (int) Math.max(1, Math.min(Integer.MAX_VALUE, Math.sqrt(memoryBytes / 24.0)));
      int channels = expert.channels();
      if (Math.min(channels, expert.tokens().length) <= most) {
        blocks.add(new Block(i, expert));
        continue;
      }
      for (int from = 0; from < channels; from += most) {
        long[] group = new long[Math.min(channels, from + most) - from];
        Arrays.setAll(group, new Offset(from)::at);
        blocks.add(
            new Block(
                i,
                new ExpertFeatures(
                    expert.expert(),
                    expert.tokens(),
                    kernel.select(manager, expert.features(), 1, group))));
      }
    }
  }

  private record Offset(int from) {
    long at(int place) {
      return from + place;
    }
  }

  /**
   * Fits.
   *
   * @param error {@code [tokens, hiddenSize]}; it is not changed
   * @param fitted the first so many tokens are fitted on while lambda is chosen by the others
   * @param experts how many there are
   */
  Result fit(NDManager owner, NDArray error, int fitted, List<ExpertFeatures> experts) {
    int all = (int) error.getShape().get(0);
    double before = kernel.squares(error);
    if (before == 0 || blocks.isEmpty()) {
      return new Result(List.of(), 0, 1, before, before);
    }
    double lambda = 1;
    double held = 1;
    if (fitted < all) {
      double least = Double.POSITIVE_INFINITY;
      Stage stage = new Stage(owner, fitted);
      try (stage) {
        for (double candidate : LAMBDAS) {
          double left = stage.heldError(error, candidate);
          if (left < least) {
            least = left;
            lambda = candidate;
          }
        }
        held = least / stage.heldError(error);
      }
      if (!(held < 1)) {
        return new Result(List.of(), 0, 1, before, before);
      }
    }
    try (Stage stage = new Stage(owner, all)) {
      List<NDArray> changes;
      double after;
      try (NDManager scratch = owner.newSubManager()) {
        NDArray left = copy(scratch, error, 0, all);
        changes = stage.solve(owner, left, lambda);
        after = kernel.squares(left);
      }
      List<NDArray> ofExperts = joined(owner, changes, experts);
      if (after > before) {
        ofExperts.forEach(NDArray::close);
        return new Result(List.of(), 0, 1, before, before);
      }
      return new Result(ofExperts, lambda, held, before, after);
    }
  }

  private static NDArray copy(NDManager owner, NDArray array, int from, int to) {
    try (NDArray view = array.get(from + ":" + to)) {
      NDArray copy = view.duplicate();
      copy.attach(owner);
      return copy;
    }
  }

  /** Puts the groups of an expert's channels together again. */
  private List<NDArray> joined(
      NDManager owner, List<NDArray> changes, List<ExpertFeatures> experts) {
    List<NDArray> joined = new ArrayList<>();
    int block = 0;
    for (int i = 0; i < experts.size(); i++) {
      NDArray whole = null;
      while (block < blocks.size() && blocks.get(block).place() == i) {
        NDArray part = changes.get(block++);
        if (whole == null) {
          whole = part;
        } else {
          try (NDArray first = whole;
              NDArray second = part) {
            whole = first.concat(second, 0);
            whole.attach(owner);
          }
        }
      }
      if (whole == null) {
        long hidden = changes.get(0).getShape().get(1);
        whole = owner.zeros(new Shape(experts.get(i).channels(), hidden), DataType.FLOAT32);
      }
      joined.add(whole);
    }
    return joined;
  }

  /** The equations of the blocks over the first so many tokens. */
  private final class Stage implements AutoCloseable {
    private final NDManager manager;
    private final int tokens;
    private final List<Equations> equations = new ArrayList<>();
    private final List<Integer> order = new ArrayList<>();
    private final boolean keepsProducts;

    Stage(NDManager owner, int tokens) {
      manager = owner.newSubManager();
      this.tokens = tokens;
      double sum = 0;
      long channels = 0;
      long bytes = 0;
      List<double[]> energies = new ArrayList<>();
      for (Block block : blocks) {
        interrupts.run();
        int rows = block.features().rowsIn(tokens);
        double[] ofBlock = new double[block.features().channels()];
        if (rows > 0) {
          try (NDManager scratch = manager.newSubManager()) {
            ofBlock = kernel.energies(block.features().rows(scratch, rows));
          }
        }
        energies.add(ofBlock);
        sum += Arrays.stream(ofBlock).sum();
        channels += ofBlock.length;
        long size = Math.min(rows, ofBlock.length);
        bytes += 2 * size * size * Double.BYTES;
      }
      keepsProducts = bytes <= memoryBytes;
      double floor = Math.max(1e-3 * sum / channels, Double.MIN_NORMAL);
      for (int i = 0; i < blocks.size(); i++) {
        order.add(i);
        double[] damping = energies.get(i).clone();
        for (int c = 0; c < damping.length; c++) {
          damping[c] += floor;
        }
        equations.add(
            new Equations(blocks.get(i), blocks.get(i).features().rowsIn(tokens), damping));
      }
      order.sort(
          Comparator.comparingDouble((Integer i) -> -Arrays.stream(energies.get(i)).sum())
              .thenComparing(i -> -equations.get(i).rows));
    }

    /** Returns the error of the tokens behind the fitted ones. */
    double heldError(NDArray error) {
      try (NDManager scratch = manager.newSubManager()) {
        return kernel.squares(copy(scratch, error, tokens, (int) error.getShape().get(0)));
      }
    }

    /** Returns what a fit with this damping leaves of it. */
    double heldError(NDArray error, double lambda) {
      try (NDManager scratch = manager.newSubManager()) {
        List<NDArray> changes = solve(scratch, copy(scratch, error, 0, tokens), lambda);
        NDArray left = error.duplicate();
        left.attach(scratch);
        for (int i = 0; i < blocks.size(); i++) {
          ExpertFeatures features = blocks.get(i).features();
          int count = features.rowsIn((int) error.getShape().get(0));
          if (count > 0) {
            kernel.addRows(
                left,
                features.tokens(scratch, count),
                features.rows(scratch, count),
                changes.get(i),
                -1);
          }
        }
        return kernel.squares(copy(scratch, left, tokens, (int) error.getShape().get(0)));
      }
    }

    /**
     * Solves.
     *
     * @param left the error of the tokens, changed to what is left of it
     * @return the blocks' changes, owned by {@code owner}
     */
    List<NDArray> solve(NDManager owner, NDArray left, double lambda) {
      NDArray[] changes = new NDArray[blocks.size()];
      long hidden = left.getShape().get(1);
      for (int i = 0; i < changes.length; i++) {
        changes[i] =
            owner.zeros(new Shape(blocks.get(i).features().channels(), hidden), DataType.FLOAT32);
      }
      try (NDManager factors = manager.newSubManager()) {
        NDArray[] kept = new NDArray[blocks.size()];
        for (int sweep = 0; sweep < SWEEPS; sweep++) {
          for (int i : order) {
            interrupts.run();
            if (equations.get(i).rows == 0) {
              continue;
            }
            try (NDManager scratch = owner.newSubManager()) {
              NDArray factor = kept[i];
              if (factor == null) {
                factor = equations.get(i).factor(keepsProducts ? factors : scratch, lambda);
                kept[i] = keepsProducts ? factor : null;
              }
              NDArray next = equations.get(i).step(scratch, left, changes[i], factor);
              next.attach(owner);
              changes[i].close();
              changes[i] = next;
            }
          }
        }
      }
      return List.of(changes);
    }

    /** One block's equations. */
    private final class Equations {
      private final Block block;
      private final int rows;
      private final double[] damping;
      private final boolean dual;
      private @Nullable NDArray products;

      Equations(Block block, int rows, double[] damping) {
        this.block = block;
        this.rows = rows;
        this.damping = damping;
        dual = rows < damping.length;
      }

      NDArray factor(NDManager owner, double lambda) {
        try (NDManager scratch = owner.newSubManager()) {
          NDArray matrix = products;
          if (matrix == null) {
            NDManager keeper = keepsProducts ? manager : scratch;
            NDArray features = block.features().rows(scratch, rows);
            matrix =
                dual
                    ? kernel.rowProducts(keeper, features, scratch.create(damping))
                    : kernel.columnProducts(keeper, features);
            products = keepsProducts ? matrix : null;
          }
          double[] diagonal = new double[dual ? rows : damping.length];
          for (int i = 0; i < diagonal.length; i++) {
            diagonal[i] = lambda * (dual ? 1 : damping[i]);
          }
          return kernel.factor(owner, matrix, scratch.create(diagonal));
        }
      }

      NDArray step(NDManager scratch, NDArray left, NDArray change, NDArray factor) {
        NDArray features = block.features().rows(scratch, rows);
        NDArray places = block.features().tokens(scratch, rows);
        return dual
            ? kernel.dualStep(
                scratch, left, places, features, change, factor, scratch.create(damping))
            : kernel.primalStep(scratch, left, places, features, change, factor);
      }
    }

    @Override
    public void close() {
      manager.close();
    }
  }
}
