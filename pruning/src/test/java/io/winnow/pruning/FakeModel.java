package io.winnow.pruning;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.environment.Telemetry;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;

/**
 * A small MoE model in plain Java: token ids become rows of an embedding, and every layer adds its
 * routed output to them; expert i is x -> tanh(W_i x). {@link #output} and {@link #loss} compute
 * the same once more, by the book and in float64: what the library's results are compared with.
 */
public final class FakeModel implements MoeModel {
  public static final int VOCABULARY = 50;
  public static final int POSITIONS = 64;

  public final List<Layer> layers = new ArrayList<>();
  public final List<Provenance> provenances = new ArrayList<>();
  public final float[][] embedding;
  private final Routing routing;
  private final boolean renormalized;
  public int forwards;

  private FakeModel(float[][] embedding, Routing routing) {
    this.embedding = embedding;
    this.renormalized = routing.isRenormalized();
    this.routing = routing;
  }

  /** A model of random weights. */
  public static FakeModel random(
      long seed, int layers, int experts, int width, int topK, boolean renormalized) {
    return random(seed, layers, experts, width, SoftmaxRouting.of(topK, renormalized));
  }

  /** A model of random weights; the reference below knows no other routing than softmax. */
  public static FakeModel random(long seed, int layers, int experts, int width, Routing routing) {
    Telemetry.off();
    Random random = new Random(0x9E3779B97F4A7C15L * (seed + 1));
    FakeModel model = new FakeModel(matrix(random, VOCABULARY, width, 1), routing);
    for (int layer = 0; layer < layers; layer++) {
      float[][] gate = matrix(random, experts, width, 1);
      List<float[][]> weights = new ArrayList<>();
      for (int expert = 0; expert < experts; expert++) {
        weights.add(matrix(random, width, width, (0.5 + random.nextDouble()) / Math.sqrt(width)));
      }
      // Decoder layers are numbered with gaps, as where dense layers stand between.
      model.layers.add(model.new Layer(2 * layer + 1, gate, weights));
    }
    return model;
  }

  private static float[][] matrix(Random random, int rows, int columns, double scale) {
    float[][] matrix = new float[rows][columns];
    for (float[] row : matrix) {
      for (int i = 0; i < columns; i++) {
        row[i] = (float) (scale * random.nextGaussian());
      }
    }
    return matrix;
  }

  /** A model of one layer of six experts, of which every token selects 2 and 4 and none another. */
  static FakeModel selectingTwoAndFour() {
    FakeModel model = random(1, 1, 6, 4, 2, true);
    for (float[] row : model.embedding) {
      row[0] = 1;
    }
    for (int expert = 0; expert < 6; expert++) {
      model.layers.get(0).gate[expert][0] = expert == 2 || expert == 4 ? 100 : -100;
    }
    return model;
  }

  /** Random token ids that this model knows. */
  public static Calibration calibration(long seed, int sequences, int length) {
    Random random = new Random(seed + 77);
    long[][] ids = new long[sequences][length];
    for (long[] row : ids) {
      Arrays.setAll(row, i -> random.nextInt(VOCABULARY));
    }
    return Calibration.ofTokens(ids);
  }

  /** The same model with the experts of each layer in another order: place i has order[i]. */
  FakeModel permuted(int... order) {
    FakeModel copy = new FakeModel(embedding, routing);
    for (Layer layer : layers) {
      List<float[][]> weights = new ArrayList<>();
      float[][] gate = new float[order.length][];
      for (int i = 0; i < order.length; i++) {
        weights.add(layer.experts.get(order[i]));
        gate[i] = layer.gate[order[i]];
      }
      copy.layers.add(copy.new Layer(layer.index, gate, weights));
    }
    return copy;
  }

  /** An equal model. */
  FakeModel copy() {
    return permuted(IntStream.range(0, layers.get(0).numExperts()).toArray());
  }

  /** Everything that pruning may change. */
  String state() {
    StringBuilder state = new StringBuilder(provenances.toString());
    for (Layer layer : layers) {
      state.append(Arrays.deepToString(layer.gate));
      layer.experts.forEach(expert -> state.append(Arrays.deepToString(expert)));
    }
    return state.toString();
  }

  /** What a pruner would do with the first layer. */
  public PruningReport.Layer firstLayer(
      ExpertPruner.Builder options, Calibration calibration, int retained) {
    return options.build().search(this, calibration, retained).layers().get(0);
  }

  @Override
  public List<Layer> moeLayers() {
    return List.copyOf(layers);
  }

  @Override
  public int vocabularySize() {
    return VOCABULARY;
  }

  @Override
  public int maxPositions() {
    return POSITIONS;
  }

  @Override
  public void recordProvenance(Provenance provenance) {
    provenances.add(provenance);
  }

  @Override
  public void forward(TokenSequences sequences, ForwardObserver observer) {
    forwards++;
    int width = embedding[0].length;
    float[][] x = new float[(int) sequences.tokens()][];
    long[] ids = sequences.flatten(0, sequences.count());
    for (int token = 0; token < x.length; token++) {
      x[token] = embedding[(int) ids[token]].clone();
    }
    try (NDManager manager = NDManager.newBaseManager("PyTorch")) {
      for (Layer layer : layers) {
        NDArray hidden = manager.create(flatten(x), new Shape(x.length, width));
        if (!observer.onInput(layer, hidden)) {
          return;
        }
        hidden.close();
        float[] logits = layer.logits(x);
        RoutingDecision decision =
            observer.onRouting(layer, logits, routing.route(logits, layer.numExperts()));
        float[][] next = new float[x.length][width];
        for (int token = 0; token < x.length; token++) {
          double[] sum = new double[width];
          for (int rank = 0; rank < decision.topK(); rank++) {
            double[] output = tanh(layer.experts.get(decision.expert(token, rank)), x[token]);
            for (int i = 0; i < width; i++) {
              sum[i] += decision.weight(token, rank) * output[i];
            }
          }
          for (int i = 0; i < width; i++) {
            next[token][i] = (float) (x[token][i] + sum[i]);
          }
        }
        x = next;
      }
    }
  }

  private static float[] flatten(float[][] rows) {
    float[] flat = new float[rows.length * rows[0].length];
    for (int i = 0; i < rows.length; i++) {
      System.arraycopy(rows[i], 0, flat, i * rows[0].length, rows[0].length);
    }
    return flat;
  }

  static double[] tanh(float[][] weights, float[] x) {
    double[] output = new double[x.length];
    for (int i = 0; i < output.length; i++) {
      double sum = 0;
      for (int j = 0; j < x.length; j++) {
        sum += (double) weights[i][j] * x[j];
      }
      output[i] = Math.tanh(sum);
    }
    return output;
  }

  /** One layer. */
  public final class Layer implements MoeLayerView {
    public final int index;
    public float[][] gate;
    public List<float[][]> experts;

    Layer(int index, float[][] gate, List<float[][]> experts) {
      this.index = index;
      this.gate = gate;
      this.experts = new ArrayList<>(experts);
    }

    @Override
    public int layerIndex() {
      return index;
    }

    @Override
    public int numExperts() {
      return experts.size();
    }

    @Override
    public Routing routing() {
      return routing;
    }

    @Override
    public NDArray routerLogits(NDArray hidden) {
      float[] logits = logits(rows(hidden));
      return hidden.getManager().create(logits, new Shape(hidden.getShape().get(0), numExperts()));
    }

    float[] logits(float[][] x) {
      float[] logits = new float[x.length * numExperts()];
      for (int token = 0; token < x.length; token++) {
        for (int expert = 0; expert < numExperts(); expert++) {
          double sum = 0;
          for (int i = 0; i < x[token].length; i++) {
            sum += (double) gate[expert][i] * x[token][i];
          }
          logits[token * numExperts() + expert] = (float) sum;
        }
      }
      return logits;
    }

    @Override
    public NDArray expertOutput(int expert, NDArray hidden) {
      float[][] x = rows(hidden);
      float[] output = new float[x.length * x[0].length];
      for (int token = 0; token < x.length; token++) {
        double[] row = tanh(experts.get(expert), x[token]);
        for (int i = 0; i < row.length; i++) {
          output[token * row.length + i] = (float) row[i];
        }
      }
      return hidden.getManager().create(output, hidden.getShape());
    }

    @Override
    public void retain(int... retained) {
      gate = Arrays.stream(retained).mapToObj(i -> gate[i]).toArray(float[][]::new);
      experts = new ArrayList<>(Arrays.stream(retained).mapToObj(i -> experts.get(i)).toList());
    }

    private float[][] rows(NDArray hidden) {
      int width = (int) hidden.getShape().get(1);
      float[] flat = hidden.toFloatArray();
      float[][] rows = new float[flat.length / width][];
      for (int i = 0; i < rows.length; i++) {
        rows[i] = Arrays.copyOfRange(flat, i * width, (i + 1) * width);
      }
      return rows;
    }
  }

  // What follows is the reference: it shares no code with the library, not even its routing.

  /**
   * The input of a layer (by its place), behind layers of which only some experts are left.
   *
   * @param retained by the layer's index; a layer that is absent has all
   */
  public double[][] input(
      Calibration calibration, int place, Map<Integer, List<Integer>> retained) {
    TokenSequences sequences = calibration.sequences();
    long[] ids = sequences.flatten(0, sequences.count());
    double[][] x = new double[ids.length][];
    for (int token = 0; token < ids.length; token++) {
      float[] row = embedding[(int) ids[token]];
      x[token] = IntStream.range(0, row.length).mapToDouble(i -> row[i]).toArray();
    }
    for (Layer layer : layers.subList(0, place)) {
      List<Integer> all = IntStream.range(0, layer.numExperts()).boxed().toList();
      double[][] output = output(layer, x, retained.getOrDefault(layer.index, all));
      for (int token = 0; token < x.length; token++) {
        for (int i = 0; i < x[token].length; i++) {
          x[token][i] += output[token][i];
        }
      }
    }
    return x;
  }

  /** What a layer with only these experts makes of its input. */
  public double[][] output(Layer layer, double[][] x, List<Integer> retained) {
    double[][] result = new double[x.length][x[0].length];
    for (int token = 0; token < x.length; token++) {
      double[] weights = weights(layer, x[token], retained);
      for (int expert : retained) {
        if (weights[expert] == 0) {
          continue;
        }
        float[][] w = layer.experts.get(expert);
        for (int i = 0; i < w.length; i++) {
          double sum = 0;
          for (int j = 0; j < w.length; j++) {
            sum += w[i][j] * x[token][j];
          }
          result[token][i] += weights[expert] * Math.tanh(sum);
        }
      }
    }
    return result;
  }

  /** The routing weights of all experts, 0 for those that are not selected. */
  double[] weights(Layer layer, double[] x, List<Integer> retained) {
    double[] scores = scores(layer, x, retained);
    double[] weights = new double[scores.length];
    double sum = 0;
    for (int rank = 0; rank < routing.topK(); rank++) {
      int best = -1;
      for (int expert : retained) {
        if (weights[expert] == 0 && (best < 0 || scores[expert] > scores[best])) {
          best = expert;
        }
      }
      weights[best] = scores[best];
      sum += scores[best];
    }
    if (renormalized) {
      for (int i = 0; i < weights.length; i++) {
        weights[i] /= sum;
      }
    }
    return weights;
  }

  /** Softmax over the retained experts, 0 for the others. */
  double[] scores(Layer layer, double[] x, List<Integer> retained) {
    double[] scores = new double[layer.numExperts()];
    double sum = 0;
    for (int expert : retained) {
      double logit = 0;
      for (int i = 0; i < x.length; i++) {
        logit += layer.gate[expert][i] * x[i];
      }
      scores[expert] = Math.exp(logit);
      sum += scores[expert];
    }
    for (int i = 0; i < scores.length; i++) {
      scores[i] /= sum;
    }
    return scores;
  }

  /** NAEE's equation 3, group by group. */
  public static double loss(double[][] wanted, double[][] actual, int tokensPerGroup) {
    double loss = 0;
    for (int from = 0; from < wanted.length; from += tokensPerGroup) {
      double squares = 0;
      for (int token = from; token < Math.min(wanted.length, from + tokensPerGroup); token++) {
        for (int i = 0; i < wanted[token].length; i++) {
          double difference = wanted[token][i] - actual[token][i];
          squares += difference * difference;
        }
      }
      loss += Math.sqrt(squares);
    }
    return loss;
  }
}
