package io.winnow.core.kernel;

/**
 * What a layer computes before its experts. Not part of the API.
 *
 * @param hidden the residual with attention added
 * @param router the router's output for it
 */
public record RoutedResidual(DeviceTensor hidden, RouterOutput router) {}
